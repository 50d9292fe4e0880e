declare module "*.svelte" {
  import type { Component } from "svelte";
  /** Components are thin: what they take is checked where they are compiled, not here. */
  const component: Component<Record<string, unknown>>;
  export default component;
}
