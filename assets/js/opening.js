// This tab's own secret: a reload finds by it what the tab held. A tab that was duplicated brings its
// origin's along and gets a copy of what that held, so that the two part; a link begins anew.
(_, __, ...rest) => {
  let secret = '', origin = '';
  try {
    const kept = JSON.parse(sessionStorage.getItem('dapa-tab') ?? 'null');
    const known = kept?.at === location.search ? kept.secret : '';
    const query = new URLSearchParams(location.search);
    const linked = query.has('pair') || query.has('student');
    const came = performance.getEntriesByType('navigation')[0]?.type;
    if (came === 'reload') secret = known;
    else if (came === 'back_forward' || !linked) origin = known;
    if (!secret) {
      const bytes = crypto.getRandomValues(new Uint8Array(16));
      secret = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
      sessionStorage.setItem('dapa-tab', JSON.stringify({ at: location.search, secret }));
    }
  } catch { /* storage is forbidden: a reload then begins anew */ }
  return [secret, origin, ...rest];
}
