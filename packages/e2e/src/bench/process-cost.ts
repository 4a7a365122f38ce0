import { readFileSync } from "node:fs";

/** Clock ticks of /proc, per second (proc(5), sysconf(_SC_CLK_TCK)): 100 on every Linux. */
const ticksPerSecond = 100;

/** CPU time that a process has used, in microseconds. Linux only. */
export function cpuMicrosOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  // After the name, which is in brackets and may hold spaces, utime and stime are the 12th and 13th fields.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return ((Number(fields[11]) + Number(fields[12])) * 1e6) / ticksPerSecond;
}

/** Resident memory of a process, in bytes. Linux only. */
export function rssBytesOf(pid: number): number {
  const match = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "latin1"));
  return Number(match?.[1] ?? 0) * 1_024;
}
