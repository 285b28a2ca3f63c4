// This tab's own secret, made once for each address that it opens: a reload finds by it what the
// tab held, a link that is followed in the same tab does not.
(_, ...rest) => {
  let secret = '';
  try {
    const kept = JSON.parse(sessionStorage.getItem('dapa-tab') ?? 'null');
    secret = kept?.at === location.search ? kept.secret : '';
    if (!secret) {
      const bytes = crypto.getRandomValues(new Uint8Array(16));
      secret = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
      sessionStorage.setItem('dapa-tab', JSON.stringify({ at: location.search, secret }));
    }
  } catch { /* storage is forbidden: a reload then begins anew */ }
  return [secret, ...rest];
}
