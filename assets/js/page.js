// Runs once when the page opens: shortcuts, and the first-run guide.
() => {
  const press = (id) => {
    const node = document.getElementById(id);
    const button = node && (node.tagName === 'BUTTON' ? node : node.querySelector('button'));
    if (button && !button.disabled && button.offsetParent) { button.click(); return true; }
    return false;
  };
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
      if (press('send')) event.preventDefault();
    }
    if (event.key === 'Escape') {
      const guide = document.getElementById('guide');
      if (guide) guide.querySelector('.skip').click();
      else press('stop');
    }
  }, true);

  const steps = [
    ['#heatmap', 'Localize', 'See it: strong colours are where the two models part. Click a cell to read it, once more to transplant its layer.'],
    ['#search-start', 'Search', 'Search it: this finds a small set of layers that makes the student refuse, and says how sure that is.'],
    ['#strip', null, 'Toggle it: pressed layers come from the teacher. Every tab obeys this strip.'],
    ['#composer', 'Chat', 'Ask it: one prompt, three models side by side. Toggle a layer and the patched one answers again.'],
  ];
  const seen = () => { try { return localStorage.getItem('dapa-guide') === 'closed'; } catch { return true; } };
  const close = () => {
    try { localStorage.setItem('dapa-guide', 'closed'); } catch { /* private window */ }
    document.getElementById('guide')?.remove();
    document.querySelectorAll('.guided').forEach((n) => n.classList.remove('guided'));
  };
  const tabs = () => [...document.querySelectorAll('#tabs .tab-wrapper button[role=tab]')];
  const openTab = (name) => tabs().find((b) => b.textContent.trim() === name)?.click();

  // A link names the tab that it opens; whoever pressed one before that keeps the one pressed.
  let chosen = false;
  document.addEventListener('click', (event) => {
    if (!event.target.closest('#tabs .tab-wrapper button')) return;
    if (event.isTrusted) chosen = true;
    else scrollTo(0, 0); // a button further down led here: its answer begins at the top
    keep(event.target.textContent.trim().toLowerCase());
  }, true);
  const shown = 'dapa-shown'; // the tab that a reload opens again
  const keep = (name) => { try { sessionStorage.setItem(shown, name); } catch { /* forbidden */ } };
  const before = () => {
    if (performance.getEntriesByType('navigation')[0]?.type !== 'reload') return '';
    try { return sessionStorage.getItem(shown) ?? ''; } catch { return ''; }
  };
  const query = new URLSearchParams(location.search);
  const linked = before() || query.get('tab') || (query.has('pair') || query.has('student') ? 'chat' : '');
  const opening = linked && setInterval(() => {
    const tab = tabs().find((b) => b.textContent.trim().toLowerCase() === linked);
    if (tab && !chosen) tab.click();
    if (tab) clearInterval(opening);
  }, 50);
  if (opening) setTimeout(() => clearInterval(opening), 20000);

  // A picture that was drawn in a hidden tab has no width yet: it takes its room when it is shown.
  const rooms = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const wide = target.clientWidth;
      const drawn = target.querySelector('.main-svg')?.clientWidth;
      if (wide && drawn && Math.abs(wide - drawn) > 1) window.Plotly?.Plots.resize(target);
    }
  });
  const known = new WeakSet();
  const meet = () => document.querySelectorAll('.js-plotly-plot').forEach((plot) => {
    if (known.has(plot)) return;
    known.add(plot);
    rooms.observe(plot);
  });
  new MutationObserver(meet).observe(document.getElementById('tabs') || document.body,
    { childList: true, subtree: true });
  meet();

  function show(index) {
    document.getElementById('guide')?.remove();
    document.querySelectorAll('.guided').forEach((n) => n.classList.remove('guided'));
    if (index >= steps.length) { close(); openTab('Localize'); return; }
    const [selector, tab, sentence] = steps[index];
    if (tab) openTab(tab);
    setTimeout(() => {
      const target = document.querySelector(selector);
      if (!target) return;
      target.classList.add('guided');
      const box = target.getBoundingClientRect();
      const guide = document.createElement('div');
      guide.id = 'guide';
      guide.setAttribute('role', 'dialog');
      guide.setAttribute('aria-label', 'First steps');
      const [head, ...rest] = sentence.split(':');
      const p = document.createElement('p');
      const b = document.createElement('b');
      b.textContent = head + ':';
      p.append(b, rest.join(':'));
      const row = document.createElement('div');
      const count = document.createElement('span');
      count.textContent = `${index + 1} of ${steps.length}`;
      const skip = document.createElement('button');
      skip.className = 'skip';
      skip.textContent = 'Skip';
      skip.onclick = close;
      const go = document.createElement('button');
      go.className = 'go';
      go.textContent = index + 1 < steps.length ? 'Next' : 'Done';
      go.onclick = () => show(index + 1);
      row.append(count, skip, go);
      guide.append(p, row);
      document.body.append(guide);
      const left = Math.min(Math.max(12, box.left + 24), document.documentElement.clientWidth - guide.offsetWidth - 12);
      const below = box.bottom + 12 + guide.offsetHeight < innerHeight;
      const top = below ? box.bottom + 12 : Math.max(12, Math.min(box.top + 64, innerHeight - guide.offsetHeight - 12));
      guide.style.left = `${left + scrollX}px`;
      guide.style.top = `${top + scrollY}px`;
      go.focus({ preventScroll: true });
      // the tip belongs to what it points at, so it hides with the tab
      const follow = setInterval(() => {
        if (!guide.isConnected) { clearInterval(follow); return; }
        guide.hidden = target.offsetParent === null;
      }, 200);
    }, tab ? 350 : 50);
  }
  if (!seen()) {
    const wait = setInterval(() => {
      // not over a tab that was pressed meanwhile: it waits until the first picture is in sight
      if (document.querySelector('#heatmap .nsewdrag')?.getClientRects().length
        && document.getElementById('heatmap').offsetParent) { clearInterval(wait); show(0); }
    }, 300);
  }
}
