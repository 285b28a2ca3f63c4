// A link is this page's own address with the query that the server made.
watch('value', () => {
  const field = element.querySelector('[data-query]');
  if (!field) return;
  field.value = `${location.origin}${location.pathname}?${field.dataset.query}`;
  field.addEventListener('focus', () => field.select());
});
