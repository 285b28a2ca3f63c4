// Clicks on the heatmap: the first on a column reads what is behind the cell, the next toggles its
// layer (shift: a range from the last one); a column's label toggles at once.
// The figure is Gradio's; it is rebound after every redraw. Pressed columns are marked in place.
let bound = null;
let keys = {};
let last = null;
let layers = [];

function mark() {
  const plot = document.querySelector('#heatmap .js-plotly-plot');
  if (!plot) return;
  plot.querySelectorAll('.xtick text').forEach((t) => {
    t.classList.toggle('on', layers.includes(t.textContent.trim()));
  });
}

function press(layer, site, held) {
  const again = site === null || held.shift || last === layer;
  trigger('select', { layer, site, from: held.shift ? last : null, toggle: again && !held.alt });
  last = layer;
}

function bind() {
  const plot = document.querySelector('#heatmap .js-plotly-plot');
  if (!plot || plot === bound || typeof plot.on !== 'function') return;
  bound = plot;
  plot.addEventListener('mousedown', (e) => { keys = { shift: e.shiftKey, alt: e.altKey }; }, true);
  plot.on('plotly_click', (event) => {
    const point = event.points && event.points[0];
    if (!point) return;
    press(Math.round(Number(point.x)), String(point.y), keys);
  });
  plot.on('plotly_afterplot', mark);
  plot.dataset.steers = '';
  mark();
}

// The band of column names lies under plotly's own drag area: find the column by position.
document.addEventListener('click', (event) => {
  const plot = event.target.closest && event.target.closest('#heatmap .js-plotly-plot');
  if (!plot || !plot._fullLayout || event.target.closest('.modebar, .nsewdrag')) return;
  const box = plot.getBoundingClientRect();
  const size = plot._fullLayout._size;
  const x = event.clientX - box.left - size.l;
  const y = event.clientY - box.top - size.t - size.h;
  if (x < 0 || x > size.w || y < 0 || y > 28) return;
  press(Math.round(plot._fullLayout.xaxis.p2d(x)), null, { shift: event.shiftKey });
});
document.addEventListener('dapa-layers', (event) => { layers = event.detail; mark(); });
new MutationObserver(bind).observe(document.getElementById('map-card') || document.body,
  { childList: true, subtree: true });
bind();
