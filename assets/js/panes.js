// What acts on a conversation can be pressed once there is one, and Stop while replies are written.
// From the press of Send on, since a large model reads for seconds before its first word.
// A request that is refused draws nothing: the message says that nothing will come.
let awaited = 0;
const written = (on) => {
  const stop = document.getElementById('stop');
  if (stop) stop.disabled = !on;
  clearInterval(awaited);
  awaited = on ? setInterval(() => document.querySelector('.toast-body.error') && settle(), 400) : 0;
};
function settle() {
  const begun = Boolean(element.querySelector('.asked'));
  for (const id of ['regenerate', 'edit', 'undo', 'clear']) {
    const button = document.getElementById(id);
    if (button) button.disabled = !begun;
  }
  written(Boolean(element.querySelector('.caret-end')));
}
document.addEventListener('click', (event) => {
  const typed = document.querySelector('#prompt textarea')?.value.trim();
  if (event.target.closest(typed ? '#send, #regenerate' : '#regenerate')) written(true);
  if (event.target.closest('[data-example], #shelf [data-prompt]')) written(true);
});
document.addEventListener('keydown', (event) => {
  const box = event.target.closest('#prompt textarea');
  if (event.key === 'Enter' && !event.shiftKey && box?.value.trim()) written(true);
});
setTimeout(settle, 0);
watch('value', settle);

// Replies that are blurred until asked for (the choice is kept on the root, which redraws leave
// alone), examples to ask, badges to overrule, votes.
const PANES = ['student', 'patched', 'teacher', 'A', 'B', 'C'];
let asked = '';
const shown = () => new Set((element.dataset.shown || '').split(' ').filter(Boolean));
function turn(name) {
  const names = shown();
  if (!names.delete(name)) names.add(name);
  element.dataset.shown = [...names].join(' ');
  unveil();
}
function unveil() {
  const names = shown();
  for (const button of element.querySelectorAll('[data-show]')) {
    const open = names.has(button.dataset.show);
    button.textContent = open ? 'Blur it again' : 'Show the reply';
    button.closest('.pane').classList.toggle('seen', open);
  }
}
element.addEventListener('click', (event) => {
  const at = (selector) => event.target.closest(selector);
  const show = at('[data-show]');
  if (show) turn(show.dataset.show);
  const example = at('[data-example]');
  if (example) trigger('select', { text: example.dataset.example });
  const rule = at('[data-rule]');
  if (rule) trigger('like', { pane: rule.dataset.rule, label: rule.dataset.label });
  const vote = at('[data-vote]');
  if (vote) trigger('submit', { choice: vote.dataset.vote });
});
// A menu of verdicts closes as menus do: by Escape, and by a press anywhere else.
const menus = () => [...element.querySelectorAll('details.ruling[open]')];
document.addEventListener('click', (event) => {
  for (const menu of menus()) if (!menu.contains(event.target)) menu.open = false;
});
document.addEventListener('keydown', (event) => {
  if (event.key !== 'Escape' || !menus().length) return;
  event.stopImmediatePropagation(); // it leaves the menu, and stops or leaves nothing else
  for (const menu of menus()) { menu.open = false; menu.querySelector('summary').focus(); }
}, true);
// Whoever goes by keys stays where they were when the panes are drawn anew.
const PLACES = ['.ruling summary', '.first summary', '[data-show]'];
let held = '';
element.addEventListener('focusin', ({ target }) => {
  const name = [...(target.closest('.pane')?.classList || [])].find((one) => PANES.includes(one));
  const menu = target.closest('.menu') && PLACES[0];
  const place = menu || PLACES.find((one) => target.matches(one));
  held = name && place ? `.pane.${name} ${place}` : '';
});
document.addEventListener('pointerdown', () => { held = ''; }, true);
document.addEventListener('focusin', ({ target }) => { if (!element.contains(target)) held = ''; });
function stay() {
  if (held && document.activeElement === document.body) element.querySelector(held)?.focus();
}
element.addEventListener('focusout', () => setTimeout(stay, 0)); // a menu was shut around it
new MutationObserver(stay).observe(element, { childList: true, subtree: true });
// The patched pane is titled by the strip, whoever drew it last and with which layers.
function agree() {
  const strip = document.querySelector('#strip .strip[data-head]');
  const pane = element.querySelector('.pane.patched');
  if (!strip || !pane) return;
  const { head, line, mask } = strip.dataset;
  const old = pane.dataset.of !== undefined && pane.dataset.of !== mask;
  pane.querySelector('header h2').textContent = head;
  pane.querySelector('header p').textContent = old
    ? `${line} \u00b7 its reply is older, of ${pane.dataset.older}` : line;
}
document.addEventListener('dapa-layers', agree);
setTimeout(agree, 0); // layers may have been pressed before this tab was first opened
watch('value', agree);
watch('value', () => {
  const now = element.querySelector('.panes')?.dataset.ask || '';
  if (now !== asked) { asked = now; delete element.dataset.shown; }
  const stage = document.getElementById('page'); // what was presented stays blurred, and no more
  const told = stage?.dataset.presented;
  if (told && !now.endsWith(` ${told.slice(0, 80)}`)) delete stage.dataset.presented;
  unveil();
});
