// A pressed run is opened, or set beside the one that is open.
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-run]');
  if (button) trigger('select', { run: button.dataset.run, op: button.dataset.do || 'open' });
});
