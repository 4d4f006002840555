import type { Config } from '../../src/config.ts';
import { orderContract } from './events.ts';

export const tenContract: Config['contracts'] = [{ tenant: 'dev', type: 'track', event: 'Order Completed', version: 1, onViolation: 'reject', schema: JSON.stringify(orderContract) }];
