// A link is this page's own address with the query that the server made; it is copied as it comes.
function copied(field) {
  const say = element.querySelector('.copied');
  const told = (done) => {
    if (say) say.textContent = done ? 'Copied.' : 'Press Ctrl+C to copy it.';
  };
  const byHand = () => { // pages that are not on https or on this machine have no clipboard
    field.focus();
    field.select();
    told(document.execCommand('copy'));
  };
  if (!navigator.clipboard) { byHand(); return; }
  navigator.clipboard.writeText(field.value).then(() => told(true), byHand);
}

watch('value', () => {
  const field = element.querySelector('[data-query]');
  if (!field) return;
  field.value = `${location.origin}${location.pathname}?${field.dataset.query}`;
  field.addEventListener('focus', () => field.select());
  copied(field);
});
