// Clicks on a view's picture whose columns are layers: the first reads the prompts behind the cell, the
// next on the same column presses its layer (shift: a range). Headings of a sortable table sort it.
let bound = null;
let last = null;
let keys = {};

function bind() {
  const plot = document.querySelector('#view-plot .js-plotly-plot');
  if (!plot || plot === bound || typeof plot.on !== 'function') return;
  bound = plot;
  plot.addEventListener('mousedown', (e) => { keys = { shift: e.shiftKey, alt: e.altKey }; }, true);
  plot.on('plotly_click', (event) => {
    const point = event.points && event.points[0];
    const meta = plot.layout && plot.layout.meta;
    if (!point || !meta || !meta.layers) return;
    const layer = Math.round(Number(point.x));
    if (!Number.isFinite(layer)) return;
    trigger('select', { layer, from: keys.shift ? last : null, site: String(point.y),
                        toggle: (keys.shift || last === layer) && !keys.alt });
    last = layer;
  });
  plot.dataset.steers = '';
}

document.addEventListener('click', (event) => {
  const head = event.target.closest && event.target.closest('.sortable th');
  if (!head) return;
  const body = head.closest('table').tBodies[0];
  const column = [...head.parentNode.children].indexOf(head);
  const down = head.getAttribute('aria-sort') !== 'descending';
  head.parentNode.querySelectorAll('th').forEach((th) => th.removeAttribute('aria-sort'));
  head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
  const value = (row) => {
    const text = row.cells[column].textContent.trim();
    const number = Number(text.replaceAll('\u2212', '-'));
    return text === 'yes' ? 1 : text === '' || text === '\u2013' ? -Infinity : number;
  };
  [...body.rows].sort((a, b) => (down ? 1 : -1) * (value(b) - value(a))).forEach((r) => body.append(r));
});
new MutationObserver(bind).observe(document.getElementById('views-card') || document.body,
  { childList: true, subtree: true });
bind();
