// A pressed prompt goes to the composer and is asked.
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-prompt]');
  if (button) trigger('select', { text: button.dataset.prompt });
});
