// One ear for every press that loads the pair, or puts the layers on the strip, which something on
// screen belongs to, and for closing the news. Presses come from anywhere on the page.
document.addEventListener('click', (event) => {
  const at = (selector) => event.target.closest && event.target.closest(selector);
  const load = at('[data-load]');
  if (load && !load.disabled) {
    load.disabled = true;
    setTimeout(() => { load.disabled = false; }, 1500);
    const named = JSON.parse(load.dataset.load);
    trigger('mask' in named ? 'like' : 'select', named);
  }
  const press = at('[data-press]');
  if (press) document.getElementById(press.dataset.press)?.click();
  const news = at('[data-dismiss]') && at('.news');
  if (news) news.remove();
});
