import { WebSocket } from "ws";

/**
 * Resident memory in KiB of a program that was started with `--inspect=127.0.0.1:0`, after its garbage
 * was collected. Collecting several times gives V8 occasion to hand pages back.
 */
export async function collectedKiB(program) {
  const [url] = /ws:\/\/\S+/.exec(program.said()) ?? [];
  if (!url) throw new Error("the program says no inspector");
  const socket = new WebSocket(url);
  await new Promise((resolve, reject) => {
    socket.once("open", resolve);
    socket.once("error", reject);
  });
  let next = 1;
  const ask = (method, params = {}) =>
    new Promise((resolve) => {
      const id = next++;
      const hear = (data) => {
        const message = JSON.parse(data);
        if (message.id !== id) return;
        socket.off("message", hear);
        resolve(message.result);
      };
      socket.on("message", hear);
      socket.send(JSON.stringify({ id, method, params }));
    });
  for (let i = 0; i < 4; i += 1) {
    await ask("HeapProfiler.collectGarbage");
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  socket.terminate();
  return program.memory().now * 1024;
}
