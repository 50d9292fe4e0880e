import { createHash } from "node:crypto";

/** The pages of the provider of `--dev`: no script, nothing from elsewhere, one style that the policy names by hash. */
const STYLE = `
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --accent: #2f6f5e; --warn: #8a5a00; }
@media (prefers-color-scheme: dark) { :root { --accent: #7fc8b2; --warn: #e3b565; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 26rem; margin: 12vh auto 0; padding: 0 1.25rem; }
h1 { font-size: 1.35rem; margin: 0 0 .25rem; } p { margin: .25rem 0 1.25rem; }
button { display: block; width: 100%; text-align: left; font: inherit; color: inherit; cursor: pointer;
  background: var(--soft); border: 1px solid var(--line); border-radius: 8px; padding: .75rem 1rem; margin: 0 0 .75rem; }
button:hover { border-color: var(--accent); } :focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
button b { display: block; } a { color: var(--accent); } .note { font-size: .875rem; color: var(--warn); }
`;

export const PAGE_STYLE_HASH = `sha256-${createHash("sha256").update(STYLE).digest("base64")}`;

export function pickPage(
  action: string,
  people: readonly { readonly sub: string; readonly name: string; readonly hint: string }[],
): string {
  const buttons = people.map(
    ({ sub, name, hint }) =>
      `<button name="who" value="${escape(sub)}"><b>${escape(name)}</b> ${escape(hint)}</button>`,
  );
  return html(
    "Who are you?",
    `<p>Skald runs with <code>--dev</code>: pick somebody, there is no password.</p>
<form method="post" action="${escape(action)}">${buttons.join("\n")}</form>
<p class="note">For trying things out. Whoever can open this page can be either of them.</p>`,
  );
}

export function logoutPage(action: string, secret: string): string {
  return html(
    "Sign out",
    `<p>You are signed out of Skald.</p>
<form method="post" action="${escape(action)}"><input type="hidden" name="xsrf" value="${escape(secret)}">
<button name="logout" value="yes"><b>Sign out here, too</b> and go back to Skald</button></form>`,
  );
}

export function endedPage(): string {
  return html("Signed out", "<p>You can close this page.</p>");
}

export function problemPage(text: string, back?: string): string {
  const link =
    back === undefined ? "" : `<p><a href="${escape(back)}/_/">Go to Skald</a> and begin again.</p>`;
  return html("That did not work", `<p>${escape(text)}</p>${link}`);
}

function html(title: string, body: string): string {
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title} · Skald</title><style>${STYLE}</style></head><body><main><h1>${title}</h1>${body}</main></body></html>
`;
}

function escape(text: string): string {
  return text.replaceAll(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);
}
