import { testsOf } from "./decoder-tests.ts";

testsOf("records", 600_000);
