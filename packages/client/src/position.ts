/** `1.0/16B3748.3` as numbers, most significant first: epoch, the halves of the commit LSN, index. */
function parts(position: string): readonly number[] {
  const [epoch = "", lsn = "", index = ""] = position.split(".");
  const [high = "", low = ""] = lsn.split("/");
  return [Number(epoch), Number.parseInt(high, 16), Number.parseInt(low, 16), Number(index)];
}

/** Negative when `a` comes before `b`, 0 when they are the same place. Both must be positions as the server prints them. */
export function comparePositions(a: string, b: string): number {
  const [one, other] = [parts(a), parts(b)];
  for (let i = 0; i < one.length; i++) {
    const difference = (one[i] ?? 0) - (other[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
