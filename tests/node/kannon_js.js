// Sends by kannon.js what it is told on standard input, and says what it was answered.
const { KannonCli } = require("kannon.js");

async function main(told) {
  const kannon = new KannonCli(told.domain, told.key, told.sender, { host: told.host, skipTLS: true });
  const answers = [];
  for (const call of told.calls) {
    const at = call.at ? new Date(call.at) : undefined;
    try {
      answers.push(
        call.html
          ? await kannon.sendHtml(call.recipients, call.subject, call.html, at)
          : await kannon.sendTemplate(call.recipients, call.subject, call.template, at),
      );
    } catch (error) {
      answers.push({ code: error.code, details: error.details });
    }
  }
  console.log(JSON.stringify(answers));
}

main(JSON.parse(require("fs").readFileSync(0, "utf8"))).then(() => process.exit(0));
