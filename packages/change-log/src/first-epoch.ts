/**
 * The epoch that a log begins with: the second it is made in, in Unix time. A log that was lost, with the number of its
 * epoch, had begun earlier and was raised by one now and then, so that readers who come from it see a higher epoch, and
 * with it the gap.
 */
export const firstEpoch = (): number => Math.floor(Date.now() / 1000);
