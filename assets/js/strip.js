// Keyboard, clicks and ranges on the layer strip. The server decides; a press shows at once.
let anchor = null; // [row, column, state] where a range began
let focus = [0, 0];

const rows = () => [...element.querySelectorAll('.strip-row')]
  .map((row) => [...row.querySelectorAll('[data-layer]')]);
const at = ([r, c]) => (rows()[r] || [])[c];
const place = (cell) => {
  const all = rows();
  for (let r = 0; r < all.length; r++) {
    const c = all[r].indexOf(cell);
    if (c >= 0) return [r, c];
  }
  return [0, 0];
};
const able = (cell) => cell && cell.getAttribute('aria-disabled') !== 'true';
const show = (cells, on) => cells.forEach((cell) => cell.setAttribute('aria-pressed', String(on)));
const send = (data) => trigger('select', data);

function toggle(cell) {
  if (!able(cell)) return;
  const on = cell.getAttribute('aria-pressed') !== 'true';
  anchor = [...place(cell), on];
  show([cell], on);
  send({ op: 'toggle', layers: [Number(cell.dataset.layer)], kind: cell.dataset.kind, on });
}

function extend(cell) {
  if (!anchor) anchor = [...place(cell), true];
  const [row, from, on] = anchor;
  const [, to] = place(cell);
  const range = (rows()[row] || []).slice(Math.min(from, to), Math.max(from, to) + 1).filter(able);
  if (!range.length) return;
  if (range.some((c) => c.dataset.kind !== range[0].dataset.kind)) { toggle(cell); return; }
  show(range, on);
  send({ op: 'toggle', layers: range.map((c) => Number(c.dataset.layer)),
         kind: range[0].dataset.kind, on });
}

function rove() {
  const all = rows().flat();
  const current = at(focus) || all[0];
  all.forEach((cell) => { cell.tabIndex = cell === current ? 0 : -1; });
}

element.addEventListener('click', (event) => {
  const op = event.target.closest('[data-op]');
  if (op && !op.disabled) { send({ op: op.dataset.op }); return; }
  const cell = event.target.closest('[data-layer]');
  if (!cell) return;
  focus = place(cell);
  rove();
  if (event.shiftKey) extend(cell); else toggle(cell);
});

element.addEventListener('keydown', (event) => {
  if (event.target.matches('[data-units]')) return; // it has its own undo
  if (event.ctrlKey || event.metaKey) {
    const key = event.key.toLowerCase();
    if (key === 'z' || key === 'y') {
      event.preventDefault();
      send({ op: key === 'y' || event.shiftKey ? 'redo' : 'undo' });
    }
    return;
  }
  const cell = event.target.closest('[data-layer]');
  if (!cell) return;
  const [r, c] = place(cell);
  const last = rows()[r].length - 1;
  const moves = { ArrowLeft: [r, c - 1], ArrowRight: [r, c + 1], ArrowUp: [r - 1, c],
                  ArrowDown: [r + 1, c], Home: [r, 0], End: [r, last] };
  if (event.key === ' ' || event.key === 'Enter') {
    event.preventDefault();
    if (event.shiftKey) extend(cell); else toggle(cell);
    return;
  }
  const next = moves[event.key] && at(moves[event.key]);
  if (!moves[event.key]) return;
  event.preventDefault();
  if (!next) return;
  if (event.shiftKey && !anchor) anchor = [r, c, cell.getAttribute('aria-pressed') !== 'true'];
  if (!event.shiftKey) anchor = null;
  focus = place(next);
  rove();
  next.focus();
  next.scrollIntoView({ block: 'nearest', inline: 'nearest' });
  if (event.shiftKey) extend(next);
});

element.addEventListener('input', (event) => {
  const out = event.target.closest('label')?.querySelector('output');
  if (event.target.type === 'range' && out) out.textContent = Number(event.target.value).toFixed(2);
});
element.addEventListener('change', (event) => {
  if (event.target.type === 'range') send({ op: 'strength', value: Number(event.target.value) });
  if (event.target.matches('[data-kinds]')) send({ op: 'kind', kind: event.target.value });
  if (event.target.matches('[data-units]')) send({ op: 'units', text: event.target.value });
});

// The pointer, or the focus, names the cell: cells of a deep model are too narrow for their numbers.
const tip = document.createElement('div');
tip.className = 'strip-tip'; tip.hidden = true; tip.setAttribute('aria-hidden', 'true');
function name(cell) {
  tip.hidden = !cell;
  if (!cell) return;
  if (!tip.isConnected) element.append(tip);
  tip.textContent = cell.getAttribute('aria-label');
  const box = cell.getBoundingClientRect(); const all = element.getBoundingClientRect();
  const left = box.left - all.left + box.width / 2 - tip.offsetWidth / 2;
  tip.style.left = `${Math.max(4, Math.min(left, all.width - tip.offsetWidth - 4))}px`;
  tip.style.top = `${box.bottom - all.top + 4}px`;
}
for (const event of ['pointerover', 'focusin']) {
  element.addEventListener(event, ({ target }) => name(target.closest('[data-layer]')));
}
for (const event of ['pointerleave', 'focusout', 'click']) element.addEventListener(event, () => name(null));

function settle() {
  rove();
  const range = element.querySelector('input[type=range]');
  if (range && document.activeElement !== range) range.value = range.dataset.value;
  const grid = element.querySelector('.strip-grid');
  const layers = [...element.querySelectorAll('.strip-row:first-child [aria-pressed=true]')];
  if (grid && layers.length && grid.scrollWidth > grid.clientWidth) {
    const box = grid.getBoundingClientRect();
    const seen = layers.some((c) => c.getBoundingClientRect().left >= box.left
      && c.getBoundingClientRect().right <= box.right);
    if (!seen) grid.scrollLeft += layers[0].getBoundingClientRect().left - box.left - 40;
  }
  const on = layers.map((c) => c.dataset.layer);
  document.dispatchEvent(new CustomEvent('dapa-layers', { detail: on }));
}
watch('value', settle);
settle();
