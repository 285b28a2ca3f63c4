// This browser's own secret, made once and kept in it: its saved sessions are found by it alone.
let secret = null;
try {
  secret = localStorage.getItem('dapa-visitor');
  if (!/^[0-9a-f]{32}$/.test(secret ?? '')) {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    secret = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
    localStorage.setItem('dapa-visitor', secret);
  }
} catch { /* storage is forbidden: the server says so when something is to be saved */ }
if (secret) setTimeout(() => trigger('select', { visitor: secret }), 0);
