/* The types of the door's bodies and answers. Written by `npm run api:types` from the schemas of its OpenAPI document. */

/** The process runs. */
export type Alive = {
  status: 'ok';
};

/** What became of a batch. */
export type BatchSummary = {
  /** events in the batch */
  received: number;
  /** of them durable */
  accepted: number;
  /** of them refused, or not taken by Kafka */
  rejected: number;
  /** one line each for those that were not accepted */
  errors: EventError[];
};

/** What became of another record of an event. */
export type Copy = {
  /** accepted: durable on the topic, the sink has not come to it */
  status: 'accepted' | 'stored' | 'duplicate' | 'conflict' | 'dropped' | 'suppressed' | 'dead_lettered';
  topic?: string;
  partition?: number;
  /** decimal digits */
  offset?: string;
  received_at: string;
  /** of `stored` */
  stored_at?: string;
  /** of `duplicate` and `conflict`: the record that was stored before */
  duplicate_of?: {
    topic: string;
    partition: number;
    /** decimal digits */
    offset: string;
  } | null;
  /** of `dropped` and `suppressed` */
  reason?: string;
  /** of `dead_lettered` */
  code?: string;
  /** of `dead_lettered` */
  detail?: string;
  /** of `dead_lettered` */
  dead_letter_id?: string;
  /** of `dead_lettered` */
  dead_letter_status?: string;
};

/** Why a request was refused. `code` and `message` stand at the top too, where some SDKs read them. */
export type ErrorBody = {
  error: {
    code: ErrorCode;
    /** what to mend, for people */
    message: string;
    /** as in X-Request-Id */
    request_id: string;
    /** where it is wrong; where a contract is broken, each violation; of a receipt that cannot be had whole, what this door knows itself */
    details?: ({
      /** JSON pointer (RFC 6901) into the event */
      pointer: string;
    }[] | Violation[] | Receipt);
  };
  code: ErrorCode;
  message: string;
  success: false;
};

/** what is wrong; the list is closed */
export type ErrorCode = 'unauthorized' | 'forbidden' | 'origin_forbidden' | 'rate_limited' | 'not_found' | 'method_not_allowed' | 'bad_request' | 'request_timeout' | 'headers_too_large' | 'malformed_json' | 'not_an_object' | 'unsupported_media_type' | 'unsupported_encoding' | 'body_too_large' | 'batch_missing' | 'batch_too_large' | 'idempotency_conflict' | 'unavailable' | 'internal' | 'field_missing' | 'field_invalid' | 'field_unknown' | 'type_unknown' | 'time_invalid' | 'time_out_of_range' | 'event_too_large' | 'too_deep' | 'string_invalid' | 'key_forbidden' | 'contract_violation';

/** What is wrong with one event of a batch. */
export type EventError = {
  /** its place in the batch */
  index: number;
  code: ErrorCode;
  /** what to mend, for people */
  message: string;
  /** JSON pointer (RFC 6901) into the event */
  pointer?: string;
  /** the event’s own id */
  message_id?: string;
  /** where it breaks its contract */
  violations?: Violation[];
};

/** The event is durable. */
export type EventTaken = {
  status: 'ok';
  /** a function of tenant and message id */
  event_id: string;
  /** it was known already, with the same content */
  deduplicated?: true;
  received_at: string;
};

/** An event with an idempotency key. */
export type IntakeEvent = {
  /** what happened */
  event_type: string;
  /** when it happened, of any age */
  occurred_at: string;
  /** sent again it is the same event: nothing is published twice */
  idempotency_key: string;
  /** whatever belongs to it; becomes the properties. Its user is `user_id` or `userId` */
  data: {
    /** the user */
    user_id?: string | null;
    [name: string]: unknown;
  };
  [name: string]: unknown;
};

/** Up to 500 events. One that does not fit its schema is listed in the answer’s `errors`, and the others go through. */
export type MailerpathBatch = {
  events: MailerpathEvent[];
  [name: string]: unknown;
};

/** A lifecycle event of an e-mail address or a user id. What is not named here becomes a property too. */
export type MailerpathEvent = {
  /** what happened; planned are signup, purchase, core_activity, feature_used, support_ticket, cart, re_engagement, referral */
  type: string;
  /** the address; this or `uid` is required */
  email?: string | null;
  /** the user */
  uid?: string | null;
  /** makes a repeat a duplicate; without one it is generated */
  idempotency_key?: string | null;
  /** when it happened: a date-time with a zone, or seconds or milliseconds since 1970; without one it is the receipt */
  ts?: string | number | null;
  /** where it comes from */
  source?: string | null;
  /** what was done */
  action?: string | null;
  /** which part of the product */
  feature?: string | null;
  /** the user’s plan */
  plan?: string | null;
  /** how it ended */
  status?: string | null;
  /** of money */
  amount?: number | null;
  /** whether it is one */
  upgrade?: boolean | null;
  /** whatever else belongs to it */
  metadata?: { [name: string]: unknown } | null;
  [name: string]: unknown;
} & ({
  uid: string;
} | {
  email: string;
});

/** Whether events can be taken. */
export type Readiness = {
  status: 'ok' | 'not ready' | 'closing';
  /** each part in words */
  parts: { [name: string]: string };
};

/** What became of an event. */
export type Receipt = {
  event_id: string;
  /** accepted: durable on the topic, the sink has not come to it */
  status: 'accepted' | 'stored' | 'duplicate' | 'conflict' | 'dropped' | 'suppressed' | 'dead_lettered';
  topic?: string;
  partition?: number;
  /** decimal digits */
  offset?: string;
  received_at: string;
  /** of `stored` */
  stored_at?: string;
  /** of `duplicate` and `conflict`: the record that was stored before */
  duplicate_of?: {
    topic: string;
    partition: number;
    /** decimal digits */
    offset: string;
  } | null;
  /** of `dropped` and `suppressed` */
  reason?: string;
  /** of `dead_lettered` */
  code?: string;
  /** of `dead_lettered` */
  detail?: string;
  /** of `dead_lettered` */
  dead_letter_id?: string;
  /** of `dead_lettered` */
  dead_letter_status?: string;
  /** of `stored`: other records of the id */
  copies?: Copy[];
};

/** Up to 2500 events. One that does not fit its schema is listed in the answer’s `errors`, and the others go through. */
export type SdkBatch = {
  batch: SegmentEvent[];
  /** context of the events that have none; 32,768 characters at most */
  context?: { [name: string]: unknown } | null;
  /** integrations of the events that have none; 32,768 characters at most */
  integrations?: { [name: string]: unknown } | null;
  /** when the batch was sent, for events that do not say it; where it is no time, those are refused */
  sentAt?: unknown;
  [name: string]: unknown;
};

/** What became of a batch. */
export type SdkSummary = {
  success: true;
  /** events in the batch */
  received: number;
  /** of them durable */
  accepted: number;
  /** of them refused, or not taken by Kafka */
  rejected: number;
  /** one line each for those that were not accepted */
  errors: EventError[];
};

/** The event is durable. */
export type SdkTaken = {
  success: true;
};

/** Up to 500 events. One that does not fit its schema is listed in the answer’s `errors`, and the others go through. */
export type SegmentBatch = {
  batch: SegmentEvent[];
  /** context of the events that have none; 32,768 characters at most */
  context?: { [name: string]: unknown } | null;
  /** integrations of the events that have none; 32,768 characters at most */
  integrations?: { [name: string]: unknown } | null;
  /** when the batch was sent, for events that do not say it; where it is no time, those are refused */
  sentAt?: unknown;
  [name: string]: unknown;
};

/** What all of Segment’s calls have. Alone it is an identify, page, screen or alias call whose path says which; a `type` in the body counts for nothing there. */
export type SegmentCall = {
  /** the user; this or `anonymousId` is required. A number is read as its decimal text */
  userId?: string | number | null;
  /** a user whose id is not known yet */
  anonymousId?: string | number | null;
  /** makes a repeat a duplicate; without one it is generated */
  messageId?: string | number | null;
  /** what happened; required for `track` */
  event?: string | null;
  /** the group; required for `group` */
  groupId?: string | number | null;
  /** what an `alias` renames */
  previousId?: string | number | null;
  /** of a `page` or `screen` */
  name?: string | null;
  /** of a `page` or `screen` */
  category?: string | null;
  /** of what happened */
  properties?: { [name: string]: unknown } | null | [];
  /** of the user, or of the group */
  traits?: { [name: string]: unknown } | null | [];
  /** circumstances: page, device, app, campaign; `ip` and `userAgent` are filled in where they are absent */
  context?: { [name: string]: unknown } | null | [];
  /** where the event may be passed on to */
  integrations?: { [name: string]: unknown } | null | [];
  /** when it happened; without one it is `originalTimestamp` where that is a time, else the receipt */
  timestamp?: string | null;
  /** when it was sent by the client’s clock; more than 5 minutes off, `timestamp` is shifted by the difference */
  sentAt?: string | null;
  [name: string]: unknown;
} & ({
  userId: string | number;
} | {
  anonymousId: string | number;
});

/** One of Segment’s six calls. */
export type SegmentEvent = SegmentCall & {
  /** which call */
  type: 'track' | 'identify' | 'page' | 'screen' | 'group' | 'alias';
};

/** A group call: its path says so. */
export type SegmentGroup = SegmentCall & {
  groupId: string | number;
};

/** The event is durable. */
export type SegmentTaken = {
  success: true;
  /** its own, or the one that was made for it */
  message_id: string;
};

/** A track call: its path says so. */
export type SegmentTrack = SegmentCall & {
  event: string;
};

/** What the browser SDK starts with: events go to the host that was asked. */
export type Settings = {
  integrations: { [name: string]: unknown };
  [name: string]: unknown;
};

/** Where an event breaks its contract. */
export type Violation = {
  /** what is wrong there */
  kind: 'unplanned_event' | 'required_missing' | 'type_mismatch' | 'additional_property' | 'other';
  /** JSON pointer (RFC 6901) into the event as it is stored: `/properties/total` */
  pointer: string;
  /** what to mend, for people */
  message: string;
};

/** Up to 500 events. One that does not fit its schema is listed in the answer’s `errors`, and the others go through. */
export type WhisperrBatch = {
  events: WhisperrEvent[];
  [name: string]: unknown;
};

/** An event of a user. */
export type WhisperrEvent = {
  /** the user */
  external_user_id: string;
  /** what happened */
  event_type: string;
  /** when it happened, in UTC, at most 5 minutes after and 30 days before now; without one it is the receipt */
  occurred_at?: string | null;
  /** of what happened */
  properties?: { [name: string]: unknown } | null;
  /** circumstances */
  context: {
    /** makes a repeat a duplicate */
    $message_id: string;
    [name: string]: unknown;
  };
};

/** What is known of a user. */
export type WhisperrIdentify = {
  /** the user */
  external_user_id: string;
  /** of the user */
  traits?: { [name: string]: unknown } | null;
  /** how to reach the user; kept as a trait */
  channels?: unknown;
  /** kept as a trait */
  preferred_channel?: unknown;
  /** when it happened, in UTC, at most 5 minutes after and 30 days before now; without one it is the receipt */
  occurred_at?: string | null;
  /** circumstances */
  context?: {
    /** makes a repeat a duplicate; without one it is generated */
    $message_id?: string | null;
    [name: string]: unknown;
  } | null;
};

/** What became of the events. */
export type WhisperrSummary = {
  /** of them durable */
  accepted: number;
  /** of them refused, or not taken by Kafka */
  rejected: number;
  /** one line each for those that were not accepted */
  errors: EventError[];
};
