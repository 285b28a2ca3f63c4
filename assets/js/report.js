// What a report does by itself: draws its figures for a light page, a dark one or paper, saves its
// tables, and plays its search. Every text is set as text.
const told = (id) => JSON.parse(document.getElementById(id).textContent);
const figures = told('figures');
const dark = matchMedia('(prefers-color-scheme: dark)');
const paper = matchMedia('print');
const plots = [...document.querySelectorAll('.plot')];
let onPaper = false;

function draw(width) {
  for (const node of plots) {
    const one = figures[Number(node.dataset.figure)];
    const made = one[dark.matches && !onPaper ? 'dark' : 'light'];
    const height = node.closest('.first') ? 260 : made.layout.height; // the story takes one page
    const layout = width ? { ...made.layout, width, height, autosize: false } : made.layout;
    Plotly.react(node, made.data, layout, one.config);
  }
}
draw();
dark.addEventListener('change', () => draw());
function print(begins) {
  if (begins === onPaper) return;
  onPaper = begins;
  draw(begins ? 660 : 0);
  if (!begins) plots.forEach((node) => Plotly.Plots.resize(node));
}
addEventListener('beforeprint', () => print(true));
addEventListener('afterprint', () => print(false));
paper.addEventListener('change', () => print(paper.matches));

function save(name, type, text) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
const inert = (text) => (/^[=+\-@\t\r]/.test(text) ? `'${text}` : text); // no spreadsheet runs it
const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
for (const button of document.querySelectorAll('[data-save]')) {
  button.addEventListener('click', () => {
    const sheet = button.closest('.sheet');
    const rows = [...sheet.querySelectorAll('tr')].map((row) => [...row.cells].map((c) => c.textContent));
    const name = `dapa-${sheet.querySelector('summary').textContent.toLowerCase().replace(/[^a-z0-9]+/g, '-')}`;
    if (button.dataset.save === 'csv') {
      const lines = rows.map((row) => row.map((cell) => quoted(inert(cell))).join(','));
      save(`${name}.csv`, 'text/csv', `${lines.join('\n')}\n`);
    } else {
      const [head, ...rest] = rows;
      const made = rest.map((row) => Object.fromEntries(head.map((key, i) => [key || 'what', row[i]])));
      save(`${name}.json`, 'application/json', `${JSON.stringify(made, null, 2)}\n`);
    }
  });
}
