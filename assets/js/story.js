// The presenter's bar: a story of a minute that is told by pressing what anyone could press. The
// words come from what the panes and the strip really show; every text is set as text.
const EACH = 12; // seconds a step: five of them are a minute
let story = null; let wait = ''; let step = -1; let playing = false; let since = 0;
const bar = document.createElement('section');
bar.className = 'story'; bar.setAttribute('aria-label', 'Presenter');
const made = (tag, name, text) => {
  const node = document.createElement(tag); node.className = name; node.textContent = text || '';
  return node;
};
const count = made('span', 'story-count'); const head = made('h2', 'story-head');
const line = made('p', 'story-line'); line.setAttribute('role', 'status');
const words = made('div', 'story-words'); words.append(head, line);
const [back, go, play, leave] = [['plain', '‹ Back'], ['primary-action', 'Next'],
  ['plain', '▶ Play, 60 s'], ['plain', 'Leave']].map(([name, text]) => {
  const node = made('button', name, text); node.type = 'button'; return node;
});
const buttons = made('div', 'story-buttons'); buttons.append(back, go, play, leave);
bar.append(count, words, buttons);

const pane = (name) => document.querySelector(`#panes .pane.${name}`);
const asked = (name) => [...(pane(name)?.querySelectorAll('.asked') || [])].at(-1)?.textContent;
const verdict = (name) => ['refusal', 'compliance', 'answered', 'incoherent', 'unclear']
  .find((word) => pane(name)?.classList.contains(word));
const UNCLEAR = ['incoherent', 'unclear'];
const settled = (name, text) => asked(name) === text && verdict(name);
// is the patched reply made with what the strip holds?
const fresh = () => (document.querySelector('#panes .panes')?.dataset.mask || '') === held();
const held = () => document.querySelector('#strip .strip')?.dataset.mask || '';
const press = (op) => document.querySelector(`#strip [data-op=${op}]`)?.click();
const lit = () => [...document.querySelectorAll('#strip .tips')].map((cell) => cell.dataset.layer);
const ask = (text) => { if (!settled('patched', text)) trigger('select', { text }); };
const askHarmful = () => { // going on, it stands there already
  if (asked('patched') !== story.harmful) trigger('select', { text: story.harmful });
};
const so = (say) => new Promise((done) => {
  const wait = setInterval(() => { if (say()) { clearInterval(wait); done(); } }, 50);
});
const listed = (names) => (names.length < 2 ? names.join('')
  : `${names.slice(0, -1).join(', ')} or ${names.at(-1)}`);

const STEPS = [
  { head: 'A harmful request', next: () => `Transplant ${story.layers}`,
    async act() {
      const again = held(); // the strip's own change answers the last question anew
      if (again) { press('none'); await so(() => !held()); }
      if (!again || asked('patched') !== story.harmful) trigger('select', { text: story.harmful });
    },
    done: () => settled('student', story.harmful),
    say() {
      if (!this.done()) return 'Student and patched model are asked the same; nothing is transplanted yet.';
      if (UNCLEAR.includes(verdict('student'))) return 'The student neither refuses nor clearly does what it is asked.';
      return verdict('student') === 'refusal' ? 'The student refuses this one by itself.'
        : 'The student does what it is asked. Its reply is blurred, since it may do harm.';
    } },
  { head: 'One press', next: () => 'What would tip it?',
    act() { if (held()) askHarmful(); else press('found'); },
    done: () => held() && fresh() && settled('patched', story.harmful),
    say() {
      if (!this.done()) return `${story.moved} now come from the teacher; nothing else changes.`;
      if (verdict('student') === 'refusal' && verdict('patched') === 'refusal') return `Refused, as by the student itself: this request shows nothing of the set.`;
      return verdict('patched') === 'refusal'
        ? `The reply turns. ${story.moved} now come from the teacher, and the model refuses.`
        : 'This reply does not turn: the figures at the end tell how many do.';
    } },
  { head: 'What holds it', next: () => 'Ask its harmless twin',
    act: () => askHarmful(), // who comes back from the twin reads the harmful request's cells
    done: () => settled('patched', story.harmful) && (!story.flips || document.querySelector('#strip .flips')),
    say() {
      if (!story.flips) return 'The units of this set have no cells of their own to be flipped alone.';
      if (!this.done()) return 'Each layer is flipped alone, in one batch.';
      const cells = lit();
      const refuses = verdict('patched') === 'refusal'; // the cells tell of its first word alone
      const start = Number(pane('patched')?.querySelector('.first b')?.textContent) >= 0.5;
      if (refuses !== start) return 'This reply is not told by its first word, and that is all the strip reads: it cannot say here what holds it.';
      const then = refuses ? 'is no longer' : 'becomes';
      return cells.length ? `Lit on the strip: flip layer ${listed(cells)} alone, and a refusal ${then} the likelier start.`
        : 'No single layer would tip it: whichever is flipped alone, the likelier start stays what it is.';
    } },
  { head: 'Its harmless twin', next: () => 'In figures',
    act() { ask(story.twin); }, done: () => fresh() && settled('patched', story.twin),
    say() {
      if (!this.done()) return 'Like it in its words, but without the harm.';
      if (UNCLEAR.includes(verdict('patched'))) return 'Not refused, and not clearly answered either: this reply counts as neither.';
      return verdict('patched') === 'refusal' ? 'Refused as well: that is over-refusal, and it is counted.'
        : `${verdict('student') === 'answered' ? 'Still answered' : 'Answered'}: like it in its words, without the harm, and not refused.`;
    } },
  { head: 'In figures', next: () => 'From the start',
    act() {}, done: () => true,
    say: () => `${story.tried < 2 ? 'The request shown was the first that was tried'
      : story.turned ? `The request shown was picked from ${story.tried} that were tried`
        : `No reply of ${story.tried} that were tried turns so that the twin is answered; the first was shown`}${story.heldOut ? '' : ', and it is not of those held out from the search'
    }; these figures are over all that were asked.` },
];

const page = () => document.getElementById('page');
const isOpen = () => page()?.classList.contains('presenting');
function draw() {
  const open = isOpen();
  if (open && !bar.isConnected) page().append(bar);
  bar.hidden = !open;
  page()?.classList.toggle('telling', Boolean(open && step >= 0));
  if (!open) return;
  const now = STEPS[step];
  const ready = story && story.ready;
  for (const node of [back, play]) node.hidden = !ready;
  back.disabled = step <= 0;
  count.textContent = now ? `${step + 1} of ${STEPS.length}` : '';
  const told = now ? [now.head, now.say(), now.next()]
    : story ? ['Nothing found yet', 'Search this pair once; the story is told over what is found.', 'Open Search']
      : ['Getting ready', `A request is chosen whose reply turns. ${wait}`, 'Next'];
  if (head.textContent !== told[0]) head.textContent = told[0];
  if (line.textContent !== told[1]) line.textContent = told[1];
  go.textContent = told[2]; go.disabled = !story;
  play.textContent = playing ? '❚❚ Hold' : '▶ Play, 60 s';
  const end = element.querySelector('.story-end');
  if (end && end.parentElement !== bar) { bar.querySelector('.story-end')?.remove(); bar.prepend(end); }
  const card = bar.querySelector('.story-end');
  if (card) card.hidden = step !== STEPS.length - 1;
}

function show(index) {
  step = index; since = performance.now();
  STEPS[step].act();
  draw();
}
function next() {
  if (!story) return;
  if (!story.ready) { quit(); openTab('Search'); return; }
  show((step + 1) % STEPS.length);
}
function openTab(name) {
  [...document.querySelectorAll('#tabs .tab-wrapper button[role=tab]')]
    .find((tab) => tab.textContent.trim() === name)?.click();
}
function quit() {
  page().classList.remove('presenting');
  if (story?.harmful) page().dataset.presented = story.harmful; // the audience still looks on
  story = null; step = -1; playing = false; bar.querySelector('.story-end')?.remove();
  draw();
  document.querySelector('#present')?.focus();
}

go.addEventListener('click', next);
back.addEventListener('click', () => { if (step > 0) show(step - 1); });
play.addEventListener('click', () => {
  playing = !playing;
  if (playing && step === STEPS.length - 1) show(0);
  since = performance.now(); draw();
});
leave.addEventListener('click', quit);
document.addEventListener('keydown', (event) => {
  if (!isOpen() || event.target.matches('input, textarea, select')) return;
  if (event.key === 'Escape') quit();
  if (event.key === 'PageDown') { event.preventDefault(); next(); }
  if (event.key === 'PageUp' && step > 0) { event.preventDefault(); show(step - 1); }
});
setInterval(() => {
  if (!isOpen()) { if (!bar.hidden) draw(); return; }
  const over = performance.now() - since > EACH * 1000;
  if (playing && step >= 0 && over && STEPS[step].done()) {
    if (step === STEPS.length - 1) playing = false; else { show(step + 1); return; }
  }
  draw();
}, 300);
watch('value', () => {
  const packed = element.querySelector('[data-story]');
  story = packed ? JSON.parse(packed.dataset.story) : null;
  wait = story?.waiting || '';
  if (wait || !isOpen()) story = null; // whoever left meanwhile is asked nothing
  step = -1;
  if (story && story.ready) show(0); else draw();
});
