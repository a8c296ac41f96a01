// relay-compiler over the schema and `relay/`. Arguments: the schema, a folder for what comes out.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const [schema, folder] = process.argv.slice(2);
cpSync(schema, join(folder, 'schema.graphql'));
cpSync('relay', join(folder, 'src'), { recursive: true });
writeFileSync(join(folder, 'relay.config.json'), JSON.stringify({
  src: 'src',
  schema: 'schema.graphql',
  language: 'javascript',
  eagerEsModules: true,
  artifactDirectory: 'src/artifacts',
  persistConfig: { file: 'persisted.json', algorithm: 'SHA256' },
}));
// It adds to what there is, and makes neither of these.
mkdirSync(join(folder, 'src/artifacts'));
writeFileSync(join(folder, 'persisted.json'), '{}');
const compiler = createRequire(import.meta.url).resolve('relay-compiler/cli.js');
execFileSync(process.execPath, [compiler, 'relay.config.json'], {
  cwd: folder,
  stdio: ['ignore', 'ignore', 'inherit'],
});

assert.deepEqual(readdirSync(join(folder, 'src/artifacts')).sort(), [
  'OffersCardQuery.graphql.js',
  'OffersPageQuery.graphql.js',
  'OffersQuery.graphql.js',
  'OffersVoteMutation.graphql.js',
  'Offers_card.graphql.js',
  'Offers_list.graphql.js',
]);
