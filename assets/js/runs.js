// A pressed run is opened, anywhere in its row, or set beside the one that is open.
element.addEventListener('click', (event) => {
  const row = getSelection().isCollapsed && event.target.closest('tbody tr');
  const button = event.target.closest('[data-run]') || (row && row.querySelector('[data-run]'));
  if (button) trigger('select', { run: button.dataset.run, op: button.dataset.do || 'open' });
});
