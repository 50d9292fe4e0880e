/**
 * Which rows of a long list are drawn. Browsers draw no element higher than some millions of pixels, so above
 * `MOST_HEIGHT` the bar stands for the list in small: each of its pixels is then more than one of the rows'.
 */
export interface Window {
  /** Height of what is scrolled. */
  readonly height: number;
  /** First row drawn, and the one behind the last. */
  readonly first: number;
  readonly end: number;
  /** Where the first drawn row stands, from the top of what is scrolled. */
  readonly offset: number;
}

/** Below what Firefox, which has the least, can draw. */
export const MOST_HEIGHT = 15_000_000;
/** Rows drawn beyond what is seen, so that a quick scroll shows no gap. */
export const SPARE = 8;

export interface Seen {
  readonly scrollTop: number;
  readonly viewHeight: number;
  readonly rowHeight: number;
  readonly count: number;
}

export function windowOf({ scrollTop, viewHeight, rowHeight, count }: Seen): Window {
  const full = count * rowHeight;
  const height = Math.min(full, MOST_HEIGHT);
  const most = Math.max(0, height - viewHeight);
  const top = Math.min(Math.max(0, scrollTop), most);
  // Where the same place is in a list drawn in full.
  const place = most === 0 ? 0 : (top / most) * (full - viewHeight);
  const first = Math.max(0, Math.floor(place / rowHeight) - SPARE);
  const end = Math.min(count, Math.ceil((place + viewHeight) / rowHeight) + SPARE);
  return { height, first, end, offset: top + first * rowHeight - place };
}

/** The scroll position that shows the row whole, changed as little as can be. */
export function scrollTo(row: number, seen: Seen): number {
  const { viewHeight, rowHeight, count, scrollTop } = seen;
  const full = count * rowHeight;
  const most = Math.max(0, Math.min(full, MOST_HEIGHT) - viewHeight);
  if (most === 0) return 0;
  const place = (Math.min(Math.max(0, scrollTop), most) / most) * (full - viewHeight);
  const top = row * rowHeight;
  const wanted =
    top < place ? top : top + rowHeight > place + viewHeight ? top + rowHeight - viewHeight : place;
  if (wanted === place) return scrollTop;
  return (Math.min(Math.max(0, wanted), full - viewHeight) / (full - viewHeight)) * most;
}
