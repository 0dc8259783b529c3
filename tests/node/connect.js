// Calls procedures by Connect's own client, by all protocols that it speaks.
const { createFileRegistry, fromBinary, fromJson, toJson } = require("@bufbuild/protobuf");
const { FileDescriptorSetSchema } = require("@bufbuild/protobuf/wkt");
const { createClient, Code } = require("@connectrpc/connect");
const { createConnectTransport, createGrpcTransport, createGrpcWebTransport } = require("@connectrpc/connect-node");

async function main(told) {
  const files = fromBinary(FileDescriptorSetSchema, Buffer.from(told.descriptors, "base64"));
  const service = createFileRegistry(files).getService(told.service);
  const base = { baseUrl: told.url, httpVersion: "1.1", useBinaryFormat: true };
  const transports = {
    "Connect JSON": createConnectTransport({ ...base, useBinaryFormat: false }),
    "Connect protobuf": createConnectTransport(base),
    "gRPC-Web": createGrpcWebTransport(base),
    gRPC: createGrpcTransport({ baseUrl: told.url, httpVersion: "2" }),
  };
  const answers = {};
  for (const [name, transport] of Object.entries(transports)) {
    const method = service.methods.find((one) => one.name === told.method);
    try {
      const client = createClient(service, transport);
      const request = fromJson(method.input, told.request);
      const answer = await client[method.localName](request, { headers: told.headers, timeoutMs: 10000 });
      answers[name] = toJson(method.output, answer);
    } catch (error) {
      answers[name] = { code: Code[error.code], message: error.rawMessage };
    }
  }
  console.log(JSON.stringify(answers));
}

main(JSON.parse(require("fs").readFileSync(0, "utf8"))).then(() => process.exit(0));
