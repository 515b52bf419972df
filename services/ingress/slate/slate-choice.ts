import { ServiceError } from '../../base/errors.ts';

/** What is shown while an encoder is away. */
export type SlateSettings = {
  /** Images and clips by name. */
  files: Readonly<Record<string, string>>;
  /** Name of the one endpoints get that choose none; '' = none. */
  byDefault: string;
};

/** Key in an endpoint's participant metadata, if that is a JSON object: a name from the settings, or '' for none. */
export const SLATE_KEY = 'sluice.ingress.slate';

/**
 * The file of the slate an endpoint gets; undefined: none.
 * @throws ServiceError failed_precondition for a name nobody has configured.
 */
export function chosenSlate(participantMetadata: string, settings: SlateSettings): string | undefined {
  const name = requestedSlate(participantMetadata) ?? settings.byDefault;
  if (name === '') {
    return undefined;
  }
  const file = Object.hasOwn(settings.files, name) ? settings.files[name] : undefined;
  if (file === undefined) {
    const known = Object.keys(settings.files).join(', ') || 'none';
    throw new ServiceError(
      'failed_precondition',
      `invalid ingress: slate "${name.slice(0, 100)}" is not configured (ingress.slates: ${known})`,
    );
  }
  return file;
}

function requestedSlate(participantMetadata: string): string | undefined {
  if (!participantMetadata.includes(SLATE_KEY)) {
    return undefined;
  }
  try {
    const value = (JSON.parse(participantMetadata) as Record<string, unknown> | null)?.[SLATE_KEY];
    return typeof value === 'string' ? value : undefined;
  } catch {
    return undefined; // metadata is free text: this one only mentions the key
  }
}
