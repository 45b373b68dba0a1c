import { status, type ServiceError } from '@grpc/grpc-js';
import { google } from './protos.js';

/** A canonical gRPC code, such as 'INVALID_ARGUMENT'. */
export type Code = keyof typeof status;

/** What the server answered instead of a result, or why it could not be asked. */
export class LazynormError extends Error {
  override readonly name = 'LazynormError';
  readonly code: Code;
  /** Stable, such as 'WIDTH_MISMATCH'; absent if the answer is not the server's own. */
  readonly reason?: string;
  /** The part of the request at fault, such as 'features.values[17]'. */
  readonly field?: string;
  /** The server expects the same call to succeed after this time. */
  readonly retryAfterMs?: number;

  constructor(error: ServiceError) {
    super(error.details, { cause: error });
    this.code = (status[error.code] ?? 'UNKNOWN') as Code;
    for (const { type_url = '', value } of detailsOf(error)) {
      const type = type_url.replace('type.googleapis.com/google.rpc.', '');
      if (type === 'ErrorInfo') {
        this.reason = google.rpc.ErrorInfo.deserialize(value).reason;
      } else if (type === 'BadRequest') {
        this.field = google.rpc.BadRequest.deserialize(value).fieldViolations[0]?.field;
      } else if (type === 'RetryInfo') {
        const delay = google.rpc.RetryInfo.deserialize(value).retryDelay;
        this.retryAfterMs = delay ? Number(delay.seconds) * 1e3 + delay.nanos / 1e6 : undefined;
      }
    }
  }

  /**
   * Whether the same call may succeed later: the server is away, starting or draining, or it was full
   * and said when to come back.
   */
  get retryable(): boolean {
    return this.code === 'UNAVAILABLE' ||
      (this.code === 'RESOURCE_EXHAUSTED' && this.retryAfterMs !== undefined);
  }
}

function detailsOf(error: ServiceError): { type_url: string; value: Buffer }[] {
  const [packed] = error.metadata?.get('grpc-status-details-bin') ?? [];
  if (!(packed instanceof Buffer)) return [];
  // An Any, whose fields the generated types call by names that camel case does not touch.
  return google.rpc.Status.deserialize(packed).details as { type_url: string; value: Buffer }[];
}
