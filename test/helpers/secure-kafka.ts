import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { openSync } from 'node:fs';
import { appendFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { fetchJars } from '../../src/local/jars.ts';
import { findJava } from '../../src/local/java.ts';
import { kafkaAnswers, prepareKafka } from '../../src/local/kafka.ts';
import { eventually } from './eventually.ts';
import { cacheDir, freePorts, packageRoot } from './local.ts';

const run = promisify(execFile);

/** A Kafka of a test's own with a listener for the test (plain) and one as operators have it: TLS, client certificates, SASL, ACLs. */
export interface SecureKafka {
  plainBroker: string;
  secureBroker: string;
  /** Files: the authority, a client's certificate and key, and an authority that signed nothing here. */
  ca: string;
  cert: string;
  key: string;
  strangeCa: string;
  username: string;
  password: string;
  close: () => Promise<void>;
}

export async function startSecureKafka(): Promise<SecureKafka> {
  const dir = await mkdtemp(join(tmpdir(), 'millrace-secure-'));
  const [port, securePort] = (await freePorts(2)) as [number, number];
  const file = (name: string): string => join(dir, name);
  await makeCertificates(dir);
  const java = await findJava();
  const jars = await fetchJars({ cacheDir, onProgress: () => undefined, pom: join(packageRoot, 'src', 'local', 'pom.xml') });
  const args = await prepareKafka({ host: '127.0.0.1', port, dir, mark: `-Dmillrace.data=${dir}`, java: java.command, classpath: jars.kafkaClasspath, speedUp: ['-XX:TieredStopAtLevel=1'] });

  const properties = file('server.properties');
  const plain = await readFile(properties, 'utf8');
  const edited = plain
    .replace(/^listeners=(.*)$/m, `listeners=$1,SECURE://127.0.0.1:${securePort}`)
    .replace(/^advertised\.listeners=(.*)$/m, `advertised.listeners=$1,SECURE://127.0.0.1:${securePort}`)
    .replace(/^listener\.security\.protocol\.map=(.*)$/m, 'listener.security.protocol.map=$1,SECURE:SASL_SSL');
  const secure = 'listener.name.secure.';
  const login = (mechanism: string, module: string): string => `${secure}${mechanism}.sasl.jaas.config=org.apache.kafka.common.security.${module} required`;
  await writeFile(properties, edited);
  await appendFile(properties, `
${secure}ssl.client.auth=required
${secure}ssl.keystore.type=PEM
${secure}ssl.keystore.location=${file('broker.pem')}
${secure}ssl.truststore.type=PEM
${secure}ssl.truststore.location=${file('ca.crt')}
${secure}sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
${login('plain', 'plain.PlainLoginModule')} user_ada="secret";
${login('scram-sha-256', 'scram.ScramLoginModule')};
${login('scram-sha-512', 'scram.ScramLoginModule')};
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
allow.everyone.if.no.acl.found=true
`);
  const output = openSync(file('kafka.log'), 'a');
  const child = spawn(java.command, args, { cwd: dir, stdio: ['ignore', output, output] });
  const exited = once(child, 'exit');
  const close = async (): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL');
      await exited;
    }
    await rm(dir, { recursive: true, force: true });
  };
  try {
    await eventually(() => child.exitCode !== null || kafkaAnswers('127.0.0.1', port), yes => yes, 60_000, 200);
    if (child.exitCode !== null) throw new Error((await readFile(file('kafka.log'), 'utf8')).slice(-3_000));
    // Kafka takes one credential of a user at a time.
    for (const mechanism of ['SCRAM-SHA-256', 'SCRAM-SHA-512']) {
      await run(java.command, ['-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-cp', jars.kafkaClasspath, 'kafka.admin.ConfigCommand', '--bootstrap-server', `127.0.0.1:${port}`, '--alter', '--entity-type', 'users', '--entity-name', 'ada', '--add-config', `${mechanism}=[password=secret]`], { timeout: 60_000 });
    }
  } catch (error) {
    await close();
    throw error;
  }
  return { plainBroker: `127.0.0.1:${port}`, secureBroker: `127.0.0.1:${securePort}`, ca: file('ca.crt'), cert: file('client.crt'), key: file('client.key'), strangeCa: file('strange.crt'), username: 'ada', password: 'secret', close };
}

/** Two authorities, and of the first a broker's certificate for 127.0.0.1 and a client's. */
async function makeCertificates(dir: string): Promise<void> {
  const openssl = async (...args: string[]): Promise<void> => void (await run('openssl', args, { cwd: dir, timeout: 30_000 }));
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-noenc'];
  for (const name of ['ca', 'strange']) await openssl('req', '-x509', ...key, '-days', '2', '-subj', `/CN=${name}`, '-keyout', `${name}.key`, '-out', `${name}.crt`);
  for (const [name, names] of [['broker', 'IP:127.0.0.1,DNS:localhost'], ['client', 'DNS:client']] as const) {
    await writeFile(join(dir, `${name}.ext`), `subjectAltName=${names}\n`);
    await openssl('req', ...key, '-subj', `/CN=${name}`, '-keyout', `${name}.key`, '-out', `${name}.csr`);
    await openssl('x509', '-req', '-in', `${name}.csr`, '-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2', '-extfile', `${name}.ext`, '-out', `${name}.crt`);
  }
  await writeFile(join(dir, 'broker.pem'), `${await readFile(join(dir, 'broker.key'), 'utf8')}${await readFile(join(dir, 'broker.crt'), 'utf8')}`);
}
