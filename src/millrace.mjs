#!/usr/bin/env node
// Runs the CLI from its TypeScript source, so that a clone needs no build step.
import 'tsx';

await import('./main.ts');
