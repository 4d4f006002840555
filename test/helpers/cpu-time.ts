/** Processor time of this process, in milliseconds: what the work took, however busy the machine is with others. */
export function cpuTimeMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
}
