// The sheet that every drawing begins with.

/** A canvas, as wide as it is laid out where nothing else is said, and `high` pixels high, sharp and empty; its pen. */
export function cleared(canvas, high, wide = canvas.clientWidth) {
  const sharp = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(wide * sharp) || canvas.height !== Math.round(high * sharp)) {
    canvas.width = Math.round(wide * sharp);
    canvas.height = Math.round(high * sharp);
    canvas.style.height = `${high}px`;
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(sharp, 0, 0, sharp, 0, 0);
  pen.clearRect(0, 0, wide, high);
  return pen;
}
