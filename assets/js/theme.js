// Light, dark or as the system says; kept in the browser. Tells the server whether the page is
// dark, now and whenever that changes.
let last = null;
const KEY = 'dapa-theme';
const system = matchMedia('(prefers-color-scheme: dark)');
const kept = () => { try { return localStorage.getItem(KEY); } catch { return null; } };
const choice = element.querySelector('select');
function apply(mode) {
  if (!mode) return; // nobody chose: Gradio has followed the system, or the address
  document.body.classList.toggle('dark', mode === 'dark' || (mode === 'system' && system.matches));
}
const tell = () => {
  const dark = document.body.classList.contains('dark')
    || document.documentElement.classList.contains('dark');
  if (dark === last) return;
  if (last !== null || dark) trigger('select', { dark });
  if (last !== null) { // until the server has drawn the pictures anew, their cells are the other theme's
    document.body.classList.add('turning');
    setTimeout(() => document.body.classList.remove('turning'), 900);
  }
  last = dark;
};
if (choice) {
  choice.value = kept() || 'system';
  choice.addEventListener('change', () => {
    try { localStorage.setItem(KEY, choice.value); } catch { /* private window */ }
    apply(choice.value);
  });
}
apply(kept());
system.addEventListener('change', () => setTimeout(() => apply(kept()), 50));
setTimeout(tell, 0);
new MutationObserver(tell).observe(document.body, { attributes: true, attributeFilter: ['class'] });
