// Replies that are blurred until asked for: the choice is kept on the root, which redraws leave alone.
let asked = '';
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-show]');
  if (button) element.dataset.shown = `${element.dataset.shown || ''} ${button.dataset.show}`;
  const example = event.target.closest('[data-example]');
  if (example) trigger('select', { text: example.dataset.example });
});
watch('value', () => {
  const now = element.querySelector('.panes')?.dataset.ask || '';
  if (now !== asked) { asked = now; delete element.dataset.shown; }
});
