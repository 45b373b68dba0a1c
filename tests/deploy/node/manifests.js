// Reads {name: [manifest, ...]} as JSON and prints {name: [what is wrong, ...]}. Two looks at each manifest,
// because neither sees everything: the schemas' own validation (values, quantities, required fields) and
// the TypeScript compiler over the same document as a literal (fields that do not exist).
import { readFileSync, writeFileSync, mkdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const here = path.dirname(fileURLToPath(import.meta.url));

function moduleOf(apiVersion) {
  const operator = apiVersion.startsWith('monitoring.coreos.com/');
  return `${operator ? '@kubernetes-models/prometheus-operator' : 'kubernetes-models'}/${apiVersion}`;
}

async function bySchema(manifest) {
  try {
    const { [manifest.kind]: Kind } = await import(moduleOf(manifest.apiVersion));
    new Kind(manifest).validate();
    return [];
  } catch (error) {
    return [`${manifest.kind}: ${error.message}`];
  }
}

// One file a name, all compiled together; the errors by name.
function byCompiler(inputs) {
  const folder = path.join(here, 'manifests');
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  const names = new Map();
  Object.entries(inputs).forEach(([name, manifests], index) => {
    const file = path.join(folder, `m${index}.ts`);
    const text = manifests.map((m, k) => `import { I${m.kind} as T${k} } from '${moduleOf(m.apiVersion)}';\n`
      + `const d${k}: T${k} = ${JSON.stringify(m, null, 1)};\n`).join('');
    writeFileSync(file, `${text}export {};\n`);
    names.set(file, name);
  });
  const program = ts.createProgram([...names.keys()], {
    noEmit: true, strict: true, skipLibCheck: true, module: ts.ModuleKind.NodeNext, target: ts.ScriptTarget.ES2022, types: [],
  });
  const faults = {};
  for (const found of ts.getPreEmitDiagnostics(program)) {
    const name = names.get(found.file?.fileName) ?? 'all';
    (faults[name] ??= []).push(ts.flattenDiagnosticMessageText(found.messageText, ' '));
  }
  return faults;
}

const inputs = JSON.parse(readFileSync(0, 'utf8'));
const faults = byCompiler(inputs);
for (const [name, manifests] of Object.entries(inputs)) {
  faults[name] = [...(faults[name] ?? []), ...(await Promise.all(manifests.map(bySchema))).flat()];
}
console.log(JSON.stringify(faults));
