// Send DICOM files by C-STORE with dcmjs-dimse, each in the transfer syntax of its file.
// node store.js HOST PORT CALLING_AET CALLED_AET FILE...
// One association per file: in one with several, dcmjs-dimse loses a file for which it would have to transcode.
// Prints one line per file: its status in hexadecimal. Exit code 1 unless all are 0000.
const { Client, requests, constants, log } = require('dcmjs-dimse');

log.setLevel('error');
const [host, port, calling, called, ...files] = process.argv.slice(2);

function store(file) {
  return new Promise((resolve, reject) => {
    let status;
    const request = new requests.CStoreRequest(file);
    request.on('response', (response) => {
      status = response.getStatus();
    });
    const client = new Client();
    client.addRequest(request);
    client.on('networkError', (error) => reject(new Error(`network: ${error.message}`)));
    client.on('associationRejected', (answer) => reject(new Error(`rejected: ${answer.reason}`)));
    client.on('closed', () => resolve(status));
    client.send(host, Number(port), calling, called);
  });
}

async function main() {
  let failed = false;
  for (const file of files) {
    const status = await store(file);
    failed = failed || status !== constants.Status.Success;
    console.log(status === undefined ? 'no answer' : status.toString(16).padStart(4, '0'));
  }
  process.exit(failed ? 1 : 0);
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
