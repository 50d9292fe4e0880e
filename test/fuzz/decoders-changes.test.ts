import { testsOf } from "./decoder-tests.ts";

testsOf("changes", 100_000);
