import type { Dialect } from '../dialect.ts';
import { intakeDialect } from './intake.ts';
import { mailerpathDialect } from './mailerpath.ts';
import { segmentDialect } from './segment.ts';
import { whisperrDialect } from './whisperr.ts';

/** Where two share a path, the one that knows its bodies stands first. */
export const dialects: readonly Dialect[] = [whisperrDialect, intakeDialect, mailerpathDialect, segmentDialect];
