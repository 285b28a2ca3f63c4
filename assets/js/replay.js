// A search as a picture, running or stored: a row per step, the DSR of each, and a scrubber over both.
// Columns stand under the strip's cells: what belongs to a row stands at its left, with its number.
// Only what is in sight is drawn, so that 500 tests of 80 layers cost what 30 do. The figures come as
// data (dapa/share/played.py); every text is set as text.
const $ = (name) => element.querySelector(`.rp-${name}`);
const root = element.querySelector('.replay');
const [scroll, space, grid, curve] = ['scroll', 'space', 'grid', 'chart'].map($);
const slider = $('at');
let LEFT = 104; let RIGHT = 16; const FOOT = 20; const HEAD = 22; const TALL = 15; let MOST = 760;
const [FAIL, PASS, MEASURED] = [0, 1, 2];
const WORDS = ['it does not refuse enough', 'it still refuses', 'measured, not held against the target',
  'not yet decided'];
let data = null; let at = 0; let over = -1; let follow = true; let fit = false; let timer = null;
let items = []; let ink = {};

const percent = (x) => `${Math.floor(100 * x + 0.5 + 1e-9)}\u202f%`;
const dsr = (r) => (r.low === r.high ? percent(r.low)
  : r.state === PASS ? `≥ ${percent(r.low)}` : r.state === FAIL ? `≤ ${percent(r.high)}`
    : `${percent(r.low).replace(/\D+$/, '')}–${percent(r.high)}`);

function colours() {
  const style = getComputedStyle(element);
  for (const name of ['ink', 'muted', 'line', 'soft', 'card', 'blue', 'orange']) {
    ink[name] = style.getPropertyValue(`--${name}`).trim();
  }
  ink.font = style.fontFamily;
}
// Does a target decide here? Where sets are only measured, no dot refuses still and none fails.
const held = () => data.opening >= 0 || data.counting.length > 0;
const tint = (r) => [ink.orange, ink.blue, ink.muted, ink.muted][r.state];

function read(value) {
  const raw = value ? JSON.parse(value) : null;
  if (!raw || !raw.rows.length) return null;
  const names = ['phase', 'cells', 'parts', 'size', 'state', 'low', 'high', 'judged', 'asked', 'memo',
    'cut', 'seconds'];
  raw.rows = raw.rows.map((row) => Object.fromEntries(names.map((name, i) => [name, row[i]])));
  let best = null;
  raw.rows.forEach((row, i) => {
    row.index = i;
    const counts = raw.counting.includes(row.phase);
    const whole = raw.opening === row.phase && row.size > 0; // every unit: where the search begins
    if ((whole && best === null) || (counts && row.state === PASS
      && (best === null || row.size < raw.rows[best].size))) best = i;
    row.best = best;
  });
  return raw;
}

function units(flat) {
  const found = [];
  for (let i = 0; i < flat.length; i += 2) {
    for (let c = flat[i]; c < flat[i] + flat[i + 1]; c += 1) found.push(data.columns[c]);
  }
  return found;
}

const few = (names) => (names.length <= 12 ? names.join(', ')
  : `${names.slice(0, 12).join(', ')} and ${names.length - 12} more`);

function named(row) {
  const whole = units(row.cells); const part = units(row.parts);
  if (!whole.length && !part.length) return 'no layer';
  const word = data.axis + (whole.length === 1 ? '' : 's');
  const all = whole.length === data.columns.length && whole.length > 4 ? `all ${whole.length} ${word}`
    : whole.length ? `${word} ${few(whole)}` : '';
  return [all, part.length ? `part of ${few(part)}` : ''].filter(Boolean).join(' and ');
}

function sentence(row) {
  const cut = row.cut ? `, cut into ${row.cut} chunks` : '';
  const how = row.memo ? 'from memory' : `${row.seconds.toFixed(1)} s`;
  const found = row.best === null ? null : data.rows[row.best];
  const best = found === null ? '' : found.size > 8 ? ` Best so far: ${found.size} ${data.axis}s.`
    : ` Best so far: ${named(found)}.`;
  return `Step ${row.index + 1} (${data.phases[row.phase].split(':')[0]}${cut}): with ${named(row)} `
    + `transplanted, ${WORDS[row.state]}; DSR ${dsr(row)}, ${row.judged} of ${row.asked} prompts `
    + `judged, ${how}.${best}`;
}

function say() {
  const row = data.rows[over >= 0 ? over : at];
  $('say').textContent = sentence(row);
  $('pos').textContent = `${at + 1} of ${data.rows.length}`;
  slider.setAttribute('aria-valuetext', sentence(data.rows[at]));
  root.dataset.at = at; root.dataset.rows = data.rows.length;
}

function lay() {
  const room = MOST - FOOT;
  const phases = data.rows.filter((r, i) => !i || data.rows[i - 1].phase !== r.phase).length;
  const lines = data.rows.length + data.asking.length;
  let tall = fit ? Math.max(1, Math.min(TALL, (room - phases * HEAD) / lines)) : TALL;
  if (tall > 2) tall = Math.floor(tall); // rows on whole pixels stay crisp
  items = []; let y = 0; let last = null;
  data.rows.forEach((row) => {
    if (row.phase !== last) {
      items.push({ y, h: HEAD, text: data.phases[row.phase] }); y += HEAD; last = row.phase;
    }
    items.push({ y, h: tall, row }); y += tall;
  });
  data.asking.forEach((ask) => { items.push({ y, h: tall, ask }); y += tall; });
  return y;
}

function sized(canvas, width, height) {
  const scale = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale); canvas.height = Math.round(height * scale);
    canvas.style.width = `${width}px`; canvas.style.height = `${height}px`;
  }
  const pen = canvas.getContext('2d');
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  return pen;
}

function mark(pen, x, y, size, state) {
  pen.beginPath();
  if (state === FAIL) {
    pen.moveTo(x, y - size); pen.lineTo(x + size, y + size * 0.8); pen.lineTo(x - size, y + size * 0.8);
    pen.closePath(); pen.fill();
  } else {
    pen.arc(x, y, size * 0.9, 0, 7);
    if (state === PASS) pen.fill(); else pen.stroke();
  }
}

function hatch(pen, x, y, w, h) {
  pen.save(); pen.beginPath(); pen.rect(x, y, w, h); pen.clip();
  pen.strokeStyle = ink.card; pen.lineWidth = 1; pen.beginPath();
  for (let d = -h; d < w; d += 4) { pen.moveTo(x + d, y + h); pen.lineTo(x + d + h, y); }
  pen.stroke(); pen.restore();
}

function line(pen, item, cell, x0) {
  const { y, h } = item; const row = item.row || item.ask;
  const thick = Math.max(1, h - (h > 4 ? 2 : h > 2 ? 0.5 : 0));
  pen.fillStyle = ink.soft;
  pen.fillRect(x0, y, cell * data.columns.length, thick);
  const fill = (flat, height, top) => {
    for (let i = 0; i < flat.length; i += 2) {
      const x = x0 + flat[i] * cell; const w = flat[i + 1] * cell;
      pen.fillRect(x, top, w, height);
      if (row.memo && thick > 6) hatch(pen, x, top, w, height);
    }
  };
  pen.fillStyle = item.ask ? ink.muted : tint(row);
  pen.globalAlpha *= item.ask || row.state > PASS ? 0.5 : row.memo && thick <= 6 ? 0.55 : 1;
  fill(row.cells, thick, y);
  fill(row.parts, thick / 2, y + thick / 4);
  pen.globalAlpha = item.faint ? 0.2 : 1;
}

const BEGIN = 32; const SPAN = 20; // where a row's DSR is drawn, between its number and its figure
function gutter(pen, item) {
  const row = item.row; const middle = item.y + item.h / 2 - 1; const wide = SPAN; const x = BEGIN;
  if (LEFT < 100) return;
  pen.strokeStyle = pen.fillStyle = tint(row);
  pen.lineWidth = 1.2;
  if (row.high > row.low) {
    pen.beginPath(); pen.moveTo(x + row.low * wide, middle); pen.lineTo(x + row.high * wide, middle);
    pen.stroke();
  }
  const size = Math.min(3.2, Math.max(1, item.h / 4));
  mark(pen, x + (row.state === FAIL ? row.high : row.low) * wide, middle, size, row.state);
}

function drawGrid() {
  const wide = scroll.clientWidth; if (!wide) return;
  const room = scroll.offsetWidth; // the scroll bar stands in the margin
  LEFT = wide < 420 ? 68 : 104; RIGHT = wide < 420 ? 12 : 16;
  const total = lay();
  const height = Math.min(fit ? MOST : 560, total + FOOT);
  scroll.style.height = `${height}px`;
  const cell = Math.max(fit ? 1 : 2, (room - LEFT - RIGHT) / data.columns.length);
  root.dataset.left = LEFT; root.dataset.cell = cell;
  const inner = cell * data.columns.length;
  space.style.width = `${Math.max(wide, LEFT + inner)}px`;
  space.style.height = `${total + FOOT}px`;
  if (follow && data.live) scroll.scrollTop = total;
  const pen = sized(grid, wide, height);
  const top = scroll.scrollTop; const x0 = LEFT - scroll.scrollLeft;
  const seen = items.filter((it) => it.y + it.h > top && it.y < top + height - FOOT);
  pen.save();
  pen.beginPath(); pen.rect(LEFT, 0, wide - LEFT, height - FOOT); pen.clip();
  pen.translate(0, -top);
  seen.forEach((item) => {
    if (item.text) return;
    item.faint = item.row && item.row.index > at;
    pen.globalAlpha = item.faint ? 0.2 : 1;
    line(pen, item, cell, x0);
  });
  pen.globalAlpha = 1;
  if (cell > 5) { // hairlines between columns
    pen.fillStyle = ink.card;
    for (let c = 1; c < data.columns.length; c += 1) pen.fillRect(x0 + c * cell - 0.5, top, 1, height);
  }
  pen.fillStyle = ink.ink; pen.globalAlpha = 0.7;
  const place = new Map(items.filter((it) => it.row).map((it) => [it.row.index, it]));
  data.lines.forEach(([column, first, last]) => {
    for (let i = first; i <= last; i += 1) {
      const it = place.get(i);
      if (it && it.row.cut && it.y + it.h > top && it.y < top + height) {
        pen.fillRect(x0 + column * cell - 0.75, it.y - 1, 1.5, it.h);
      }
    }
  });
  pen.restore();
  pen.save(); pen.beginPath(); pen.rect(0, 0, wide, height - FOOT); pen.clip(); pen.translate(0, -top);
  pen.font = `11px ${ink.font}`; pen.textBaseline = 'middle';
  const every = items.some((it) => it.row && it.h < 12) ? Math.ceil(12 / items.find((it) => it.row).h) : 1;
  seen.forEach((item) => {
    pen.globalAlpha = item.faint ? 0.35 : 1;
    if (item.text) {
      pen.fillStyle = ink.muted; pen.textAlign = 'left';
      pen.fillText(LEFT < 100 ? item.text.split(':')[0] : item.text, LEFT, item.y + item.h - 8);
      return;
    }
    const middle = item.y + item.h / 2 - 0.5;
    pen.fillStyle = ink.muted;
    if (item.ask) {
      pen.textAlign = 'right';
      if (item.h > 9) pen.fillText(`… ${item.ask.judged} of ${item.ask.asked}`, LEFT - 6, middle);
      return;
    }
    const chosen = item.row.index === (over >= 0 ? over : at);
    if ((item.row.index + 1) % every === 0) {
      pen.textAlign = 'right';
      if (chosen) pen.fillStyle = ink.ink;
      pen.fillText(item.row.index + 1, LEFT < 100 ? 18 : 24, middle);
    }
    if (item.h > 9) {
      pen.textAlign = 'right'; pen.fillStyle = chosen ? ink.ink : ink.muted;
      pen.fillText(dsr(item.row), LEFT - 6, middle);
    }
    gutter(pen, item);
    if (chosen && (over >= 0 || at < data.rows.length - 1)) {
      pen.globalAlpha = 1; pen.strokeStyle = ink.ink; pen.lineWidth = 1;
      pen.strokeRect(LEFT - 1.5, item.y - 1.5, room - LEFT - RIGHT + 3, Math.max(item.h, 3));
    }
  });
  pen.restore();
  axis(pen, cell, x0, wide, height);
}

function axis(pen, cell, x0, wide, height) {
  pen.globalAlpha = 1; pen.fillStyle = ink.muted; pen.font = `11px ${ink.font}`;
  pen.textAlign = 'center'; pen.textBaseline = 'middle';
  pen.save(); pen.beginPath(); pen.rect(LEFT, 0, wide - LEFT, height); pen.clip();
  if (data.groups.length) { // a layer's name under its units, and a line between layers
    const step = Math.ceil(26 / Math.max(1, cell * data.groups[0][1]));
    data.groups.forEach(([first, count, name], i) => {
      if (i % step === 0) pen.fillText(name, x0 + (first + count / 2) * cell, height - 9);
      if (i) pen.fillRect(x0 + first * cell - 0.5, height - FOOT, 1, 6);
    });
    pen.restore(); caption(pen, wide, height);
    return;
  }
  const widest = Math.max(...data.columns.map((name) => pen.measureText(name).width)) + 8;
  const steps = data.columns.length > 40 ? [5, 10, 20, 50] : [1, 2, 5, 10, 20]; // as the strip
  const step = steps.find((n) => n * cell >= widest) || 100;
  data.columns.forEach((name, i) => {
    if (i % step === 0) pen.fillText(name, x0 + (i + 0.5) * cell, height - 9);
  });
  pen.restore(); caption(pen, wide, height);
}

function caption(pen, wide, height) {
  pen.textAlign = 'right'; pen.fillText('DSR · layer', LEFT - 4, height - 9);
}

function drawCurve() {
  const wide = curve.parentElement.clientWidth; if (!wide) return;
  const left = 40; const right = 84; const top = 12; const high = 150; const gap = 34; const low = 70;
  const plain = !held(); // no single test makes a set the best, so there is no second part
  const base = plain ? top + high - low : top + high + gap;
  const pen = sized(curve, wide, base + low + 36);
  const rows = data.rows.filter((r) => r.judged && data.shown.includes(r.phase));
  const room = Math.max(12, data.rows.length);
  const x = (i) => left + ((wide - left - right) * (i + 0.5)) / room;
  const y = (v) => top + high * (1 - v);
  pen.font = `10px ${ink.font}`; pen.textBaseline = 'middle';
  const rule = (v, dash, colour, text) => {
    pen.strokeStyle = colour; pen.setLineDash(dash); pen.lineWidth = 1; pen.beginPath();
    pen.moveTo(left, y(v)); pen.lineTo(wide - right, y(v)); pen.stroke(); pen.setLineDash([]);
    if (text) { pen.fillStyle = ink.muted; pen.textAlign = 'left'; pen.fillText(text, wide - right + 6, y(v)); }
  };
  [0, 0.5, 1].forEach((v) => {
    rule(v, [], ink.line, '');
    pen.fillStyle = ink.muted; pen.textAlign = 'right'; pen.fillText(percent(v), left - 6, y(v));
  });
  if (data.target !== null) rule(data.target, [4, 3], ink.blue, `target ${percent(data.target)}`);
  const size = Math.max(1.4, Math.min(3.4, (0.45 * (wide - left - right)) / room));
  rows.forEach((row) => {
    pen.globalAlpha = row.index > at ? 0.15 : 1;
    pen.fillStyle = pen.strokeStyle = tint(row); pen.lineWidth = 1.2;
    if (row.high > row.low) {
      pen.globalAlpha *= rows.length > 150 ? 0.18 : 0.55; pen.beginPath();
      pen.moveTo(x(row.index), y(row.low));
      pen.lineTo(x(row.index), y(row.high)); pen.stroke();
      pen.globalAlpha = row.index > at ? 0.15 : 1;
    }
    mark(pen, x(row.index), y(row.state === FAIL ? row.high : row.low), size, row.state);
  });
  pen.globalAlpha = 1;
  if (!plain) best(pen, wide - right, left, base, low, x);
  pen.fillStyle = ink.muted; pen.textAlign = 'center';
  pen.fillText('step', left + (wide - left - right) / 2, base + low + 26);
  const every = [1, 2, 5, 10, 20, 50, 100, 200].find((n) => x(n) - x(0) >= 26) || 500;
  for (let i = 0; i < data.rows.length; i += 1) {
    if (!i || (i + 1) % every === 0) pen.fillText(i + 1, x(i), base + low + 10);
  }
  if (at < data.rows.length - 1) {
    pen.strokeStyle = ink.ink; pen.lineWidth = 1; pen.globalAlpha = 0.5; pen.beginPath();
    pen.moveTo(x(at), top); pen.lineTo(x(at), base + low); pen.stroke(); pen.globalAlpha = 1;
  }
}

// How large the best set was after each step, under the curve.
function best(pen, end, left, base, low, x) {
  const most = data.columns.length;
  const z = (n) => base + low * (1 - n / most);
  pen.fillStyle = ink.muted; pen.textAlign = 'left';
  pen.fillText(`${data.axis}s in the best set so far`, left, base - 14);
  pen.strokeStyle = ink.line; pen.beginPath(); pen.moveTo(left, z(0)); pen.lineTo(end, z(0));
  pen.stroke(); pen.textAlign = 'right'; pen.fillText('0', left - 6, z(0));
  pen.fillText(most, left - 6, z(most));
  pen.strokeStyle = ink.blue; pen.lineWidth = 2; pen.beginPath();
  let before = null;
  data.rows.slice(0, at + 1).forEach((row, i) => {
    if (row.best === null) return;
    const n = data.rows[row.best].size;
    if (before === null) pen.moveTo(x(i), z(n)); else { pen.lineTo(x(i), z(before)); pen.lineTo(x(i), z(n)); }
    pen.lineTo(x(i + 0.5), z(n)); before = n;
  });
  pen.stroke();
  if (before !== null) {
    pen.fillStyle = ink.ink; pen.textAlign = 'left'; pen.fillText(before, end + 6, z(before));
  }
}

let asked = false;
function draw() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    if (!data || !root.isConnected) return;
    drawGrid(); drawCurve(); say();
  });
}

function go(to, byHand) {
  at = Math.max(0, Math.min(data.rows.length - 1, to));
  slider.value = at;
  if (byHand) follow = at === data.rows.length - 1;
  const item = items.find((it) => it.row && it.row.index === at);
  if (item && (item.y < scroll.scrollTop || item.y + item.h > scroll.scrollTop + scroll.clientHeight - FOOT)) {
    scroll.scrollTop = item.y - scroll.clientHeight / 2;
  }
  draw();
}

function halt() { clearInterval(timer); timer = null; $('play').textContent = '▶ Replay'; }

function update() {
  const before = data && data.id; const live = data && data.live;
  data = read(props.value);
  root.hidden = !data;
  if (!data) { halt(); return; }
  if (live && !data.live && follow) scroll.scrollTop = 0; // ended: it is read from its first step
  if (before !== data.id) { follow = true; fit = false; over = -1; halt(); scroll.scrollTop = 0; }
  if (follow || at > data.rows.length - 1) at = data.rows.length - 1;
  $('head').textContent = data.head.charAt(0).toUpperCase() + data.head.slice(1);
  for (const key of root.querySelectorAll('.rp-held')) key.hidden = !held();
  $('line').textContent = held() ? 'Dots still refuse, triangles do not; a line spans what was left unasked.'
    : 'A circle is the share of requests that a set refused; none of them decides by itself.';
  $('unit').textContent = data.axis;
  $('count').textContent = data.tests === null ? '' : ` ${data.rows.length} steps: ${data.tests} `
    + `${data.tests === 1 ? 'is the test' : 'are the tests'} that the search counts; the others `
    + 'open it, come from memory or judge once more.';
  slider.max = data.rows.length - 1; slider.value = at;
  $('fit').hidden = data.rows.length * TALL < 520;
  $('fit').textContent = fit ? 'row by row' : 'all at once';
  scroll.setAttribute('aria-label', `${data.rows.length} steps over ${data.columns.length} ${data.axis}s`);
  colours(); draw();
}

// The whole search on one canvas, every row of it, with what its marks mean and where it comes from.
function whole() {
  const kept = [fit, over, follow, MOST, scroll.scrollTop];
  [fit, over, follow, MOST] = [true, -1, false, 4000]; scroll.scrollTop = 0;
  drawGrid(); drawCurve();
  const scale = window.devicePixelRatio || 1; const edge = 16; const head = 52;
  const paper = document.createElement('canvas');
  paper.width = Math.max(grid.width, curve.width) + 2 * edge * scale;
  paper.height = grid.height + curve.height + (4 * edge + head) * scale;
  const pen = paper.getContext('2d');
  pen.fillStyle = ink.card; pen.fillRect(0, 0, paper.width, paper.height);
  pen.drawImage(grid, edge * scale, (edge + head) * scale);
  pen.drawImage(curve, edge * scale, (3 * edge + head) * scale + grid.height);
  pen.scale(scale, scale); pen.textBaseline = 'top';
  pen.fillStyle = ink.ink; pen.font = `600 15px ${ink.font}`; pen.fillText(data.head, edge, edge);
  pen.fillStyle = ink.muted; pen.font = `11px ${ink.font}`;
  pen.fillText(`A row is one step, a column one ${data.axis}; filled: transplanted. `
    + (held() ? '● still refuses, ▲ does not, grey: measured only, hatched: from memory.'
      : 'Hatched: from memory.'), edge, edge + 22);
  pen.fillText(`DAPA Dashboard · ${data.id}`, edge, edge + 36);
  pen.fillText('DSR of each step', edge + 28, 2 * edge + head + grid.height / scale);
  [fit, over, follow, MOST] = kept;
  drawGrid(); scroll.scrollTop = kept[4]; draw();
  return paper;
}

function rowAt(event) {
  const y = event.clientY - scroll.getBoundingClientRect().top + scroll.scrollTop;
  const item = items.find((it) => it.row && y >= it.y && y < it.y + it.h);
  return item ? item.row.index : -1;
}
function testAt(event) {
  const box = curve.getBoundingClientRect();
  const share = (event.clientX - box.left - 28) / (box.width - 28 - 78);
  return Math.max(0, Math.min(data.rows.length - 1, Math.floor(share * Math.max(12, data.rows.length))));
}
const look = (index) => { if (over !== index) { over = index; draw(); } };
scroll.addEventListener('pointermove', (event) => look(rowAt(event)));
curve.addEventListener('pointermove', (event) => look(testAt(event)));
[scroll, curve].forEach((node) => node.addEventListener('pointerleave', () => look(-1)));
scroll.addEventListener('click', (event) => { const row = rowAt(event); if (row >= 0) { halt(); go(row, true); } });
curve.addEventListener('click', (event) => { halt(); go(testAt(event), true); });
scroll.addEventListener('scroll', draw, { passive: true });
slider.addEventListener('input', () => { halt(); go(Number(slider.value), true); });
$('fit').addEventListener('click', () => { fit = !fit; scroll.scrollTop = 0; update(); });
$('png').addEventListener('click', () => whole().toBlob((blob) => {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = `dapa-search-${data.id.replace(/[^\w-]/g, '')}.png`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}));
$('play').addEventListener('click', () => {
  if (timer) { halt(); return; }
  if (at === data.rows.length - 1) go(0, true);
  $('play').textContent = '❚❚ Hold';
  timer = setInterval(() => {
    if (at >= data.rows.length - 1) { follow = true; halt(); draw(); } else { follow = false; go(at + 1); }
  }, Math.max(40, Math.min(400, 9000 / data.rows.length)));
});
new ResizeObserver(draw).observe(root);
new MutationObserver(() => { colours(); draw(); }).observe(document.body,
  { attributes: true, attributeFilter: ['class'] });
watch('value', update);
update();
