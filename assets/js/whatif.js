// Numbers under the strip's cells: P(refusal) for the prompt on screen if just that layer flipped.
// A cell that alone would tip it over one half is lit. They are drawn into the strip and vanish as soon as the strip holds another mask.
let told = null;

function show() {
  const strip = document.querySelector('#strip .strip');
  const row = strip && strip.querySelector('.strip-row');
  if (!row) return;
  row.querySelectorAll('.flip').forEach((node) => node.remove());
  row.querySelectorAll('[data-layer]').forEach((cell) => {
    cell.classList.remove('tips');
    if (cell.dataset.plain) cell.setAttribute('aria-label', cell.dataset.plain);
  });
  const fits = told && strip.dataset.mask === told.mask;
  strip.classList.toggle('flips', Boolean(fits));
  const head = row.querySelector('.kind');
  if (head && head.dataset.plain === undefined) head.dataset.plain = head.textContent;
  if (head) head.textContent = fits ? 'P(refusal) if flipped' : head.dataset.plain;
  if (!fits) return;
  if (head) head.title = `now ${told.now.toFixed(2)}, for the prompt in the chat`;
  row.querySelectorAll('[data-layer]').forEach((cell) => {
    const p = told.cells[cell.dataset.layer];
    if (p === undefined) return;
    const mark = document.createElement('small');
    mark.className = 'flip';
    mark.setAttribute('aria-hidden', 'true');
    mark.textContent = p.toFixed(2).replace(/^0/, '');
    mark.style.setProperty('--p', p);
    cell.parentNode.append(mark); // beside the button: what is written on it stands in its name
    cell.classList.toggle('tips', (p >= 0.5) !== (told.now >= 0.5));
    cell.dataset.plain ??= cell.getAttribute('aria-label');
    cell.setAttribute('aria-label', `${cell.dataset.plain}; P(refusal) ${told.now.toFixed(2)} now, `
      + `${p.toFixed(2)} if it is flipped`);
  });
}

watch('value', () => {
  const packed = element.querySelector('[data-whatif]');
  told = packed ? JSON.parse(packed.dataset.whatif) : null;
  show();
});
document.addEventListener('dapa-layers', show);
