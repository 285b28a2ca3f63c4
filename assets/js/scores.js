// A pressed cell opens its replies; "measure again" asks anew.
element.addEventListener('click', (event) => {
  const cell = event.target.closest('[data-model]');
  if (cell) trigger('select', { model: cell.dataset.model, measure: cell.dataset.measure });
  const link = event.target.closest('[data-do]');
  if (link) trigger('like', { op: link.dataset.do });
});
