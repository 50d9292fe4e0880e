/** Whether a host of a URL is this machine itself, by its name or its address. No name is looked up. */
export function isLoopback(hostname: string): boolean {
  return (
    /^(?:.+\.)?localhost$/i.test(hostname) ||
    /^127(?:\.\d{1,3}){3}$/.test(hostname) ||
    hostname === "[::1]" ||
    hostname === "::1"
  );
}
