import { Command } from "commander";
import { addServe } from "./serve.ts";

const program = new Command("skald").description(
  "Documents whose every write is a change in a log that anyone can verify.",
);
addServe(program);
await program.parseAsync();
