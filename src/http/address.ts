import type { IncomingMessage } from "node:http";
import { isIP } from "node:net";
import type { TLSSocket } from "node:tls";

/**
 * Where a request comes from. What proxies write into headers counts only when the operator says how many of them
 * stand in front: anybody can send such a header.
 */
export interface TrustedProxies {
  /** Which header they write; the other one may be the client's own, passed on. */
  readonly header: "x-forwarded-for" | "forwarded";
  /** How many, the nearest included. */
  readonly hops: number;
}

/** On the local socket, which has no addresses. */
export const LOCAL = "local";

/** An IP address as its owner writes it, without a port or zone; `unknown` once the connection is gone. */
export function addressOf(req: IncomingMessage, trusted: TrustedProxies | undefined): string {
  const nearest = plain(req.socket.remoteAddress ?? "unknown");
  if (!trusted) return nearest;
  const value = req.headers[trusted.header];
  if (value === undefined) return nearest;
  const chain = forwarded(Array.isArray(value) ? value.join() : value, trusted.header);
  // Each proxy adds whom it was asked by at the end; what stands before those of the trusted ones, anybody wrote.
  const named = chain[Math.max(0, chain.length - trusted.hops)];
  return named ?? nearest;
}

/** Whether the client spoke TLS, to this server or to the proxy that stands in front of all. */
export function isSecure(req: IncomingMessage, trusted: TrustedProxies | undefined): boolean {
  if ((req.socket as Partial<TLSSocket>).encrypted === true) return true;
  if (!trusted) return false;
  if (trusted.header === "forwarded") {
    const steps = (req.headers["forwarded"] ?? "").split(",");
    return /(?:^|;)\s*proto="?https"?\s*(?:;|$)/i.test(steps[Math.max(0, steps.length - trusted.hops)] ?? "");
  }
  const protos = String(req.headers["x-forwarded-proto"] ?? "").split(",");
  // Most proxies put one value, whatever the number of steps.
  return protos[Math.max(0, protos.length - trusted.hops)]?.trim().toLowerCase() === "https";
}

/**
 * What is counted as one client: an IPv4 address, or the 64 bits of an IPv6 address that a household or a machine has
 * to itself.
 */
export function networkOf(address: string): string {
  if (!address.includes(":")) return address;
  let network = networks.get(address);
  if (network === undefined) {
    if (networks.size >= NETWORKS_KEPT) networks.clear();
    networks.set(address, (network = networkOfV6(address)));
  }
  return network;
}

/** Working one out costs more than all the rest of counting a request. */
const networks = new Map<string, string>();
const NETWORKS_KEPT = 1024;

function networkOfV6(address: string): string {
  const [head, tail] = address.split("::", 2) as [string, string | undefined];
  const before = head === "" ? [] : head.split(":");
  const after = tail === undefined || tail === "" ? [] : tail.split(":");
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - before.length - after.length);
  const groups = [...before, ...Array.from({ length: zeros }, () => "0"), ...after];
  return groups
    .slice(0, 4)
    .map((group) => group.replace(/^0+(?=.)/, "").toLowerCase())
    .join(":");
}

/** Entries that name no address, such as `unknown`, are undefined. */
function forwarded(value: string, header: TrustedProxies["header"]): (string | undefined)[] {
  return value.split(",").map((step) => {
    const text = header === "forwarded" ? (/(?:^|;)\s*for=("[^"]*"|[^;"]*)/i.exec(step)?.[1] ?? "") : step;
    const bare = text.trim().replace(/^"(.*)"$/, "$1");
    const host = /^\[([^\]]*)\](?::\d+)?$/.exec(bare)?.[1] ?? bare.replace(/^([\d.]+):\d+$/, "$1");
    const address = plain(host);
    return isIP(address) === 0 ? undefined : address;
  });
}

/** Node says `::ffff:1.2.3.4` where it listens on both families. */
function plain(address: string): string {
  if (address.startsWith("::ffff:") && address.includes(".")) return address.slice(7);
  const zone = address.indexOf("%");
  return zone < 0 ? address : address.slice(0, zone);
}
