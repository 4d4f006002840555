import type { EventType } from '../event/canonical.ts';

/** What a mapping may fill: strings, except for the two times. */
export const textFields = ['userId', 'anonymousId', 'previousId', 'groupId', 'messageId', 'event', 'name', 'category', 'email'] as const;
export const timeFields = ['timestamp', 'sentAt'] as const;
export type MappedField = (typeof textFields)[number] | (typeof timeFields)[number];

/** How the records of a topic that others write become events. schemas/config/millrace.v1.schema.json says the same of a file. */
export interface TopicMapping {
  name: string;
  tenant: string;
  format: 'avro' | 'json_schema' | 'json';
  /** The JSON is Segment's already; then nothing below is given. */
  shape?: 'segment';
  /** Default: track. */
  type?: EventType;
  /** The name of every event; else `fields.event` says it. */
  event?: string;
  /** A dotted path into the value, `header:<name>` or `key`. */
  fields?: Partial<Record<MappedField, string>>;
}
