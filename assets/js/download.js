// What arrives here becomes a file of the browser's; the same text twice is two files.
watch('value', () => {
  const packed = element.querySelector('[data-file]');
  if (!packed) return;
  const { name, type, text } = JSON.parse(packed.dataset.file);
  packed.remove();
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
});
