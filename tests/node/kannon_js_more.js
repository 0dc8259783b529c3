// Sends attachments and global fields by kannon.js's own client, connection and messages. Its version 0.3.0 knows
// neither field: they are written behind what its generated code writes, as a later version's would be.
const { KannonCli } = require("kannon.js");
const { SendHTMLReq } = require("kannon.js/lib/proto/kannon/mailer/apiv1/mailerapiv1");

const written = SendHTMLReq.encode;
SendHTMLReq.encode = (message, into) => {
  const writer = written(message, into);
  for (const { filename, content } of message.attachments) {
    writer.uint32((7 << 3) | 2).fork(); // field 7, with a length
    writer.uint32((1 << 3) | 2).string(filename).uint32((2 << 3) | 2).bytes(content).ldelim();
  }
  for (const [name, value] of Object.entries(message.globalFields)) {
    writer.uint32((8 << 3) | 2).fork();
    writer.uint32((1 << 3) | 2).string(name).uint32((2 << 3) | 2).string(value).ldelim();
  }
  return writer;
};

async function main(told) {
  const kannon = new KannonCli(told.domain, told.key, told.sender, { host: told.host, skipTLS: true });
  const attachments = told.attachments.map(({ filename, content }) => ({
    filename,
    content: Buffer.from(content, "base64"),
  }));
  const { recipients, subject, html, globalFields } = told;
  const call = { sender: told.sender, recipients, subject, html, globalFields, attachments };
  console.log(JSON.stringify(await kannon.client.sendHtml(call, kannon.meta())));
}

main(JSON.parse(require("fs").readFileSync(0, "utf8"))).then(() => process.exit(0));
