// The sheet that every drawing begins with.

/** The context of a canvas made sharp and empty: `high` pixels high, as wide as it is laid out by default. */
export function cleared(canvas, high, wide = canvas.clientWidth) {
  const sharp = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(wide * sharp) || canvas.height !== Math.round(high * sharp)) {
    canvas.width = Math.round(wide * sharp);
    canvas.height = Math.round(high * sharp);
    canvas.style.height = `${high}px`;
  }
  const ctx = canvas.getContext("2d");
  ctx.setTransform(sharp, 0, 0, sharp, 0, 0);
  ctx.clearRect(0, 0, wide, high);
  return ctx;
}
