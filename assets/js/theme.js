// Tells the server whether the page is dark, now and whenever that changes.
let last = null;
const tell = () => {
  const dark = document.body.classList.contains('dark')
    || document.documentElement.classList.contains('dark');
  if (dark === last) return;
  if (last !== null || dark) trigger('select', { dark });
  last = dark;
};
setTimeout(tell, 0);
new MutationObserver(tell).observe(document.body, { attributes: true, attributeFilter: ['class'] });
