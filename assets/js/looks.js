// A pressed button of the closer look: which measurement, or what to do with it.
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-look], [data-do]');
  if (button && !button.disabled) {
    trigger('select', { look: button.dataset.look || null, op: button.dataset.do || 'show' });
  }
});
